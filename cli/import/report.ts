// What a person reads when an import ends.

import { count, duration, rate } from './progress.ts'
import type { Summary } from './run.ts'

/** True when every row of the file is in: known to be, or, where no verdicts were asked for, taken by the log. */
export function allIn({ complete, counts }: Summary, judged: boolean): boolean {
  return complete && counts.accepted + counts.duplicates + (judged ? 0 : counts.pending) === counts.rows
}

const NEVER_HIDDEN = new Set(['accepted', 'duplicates', 'conflicts', 'refused'])

function countLines({ counts }: Summary): string[] {
  const repeats =
    counts.duplicatesOfRepeats > 0 ? `, ${count(counts.duplicatesOfRepeats)} of them after a lost answer: maybe this run's own` : ''
  const lines: [string, number, string][] = [
    ['appended', counts.appended, 'to the log, in this run'],
    ['accepted', counts.accepted, ''],
    ['duplicates', counts.duplicates, `in already, with equal content${repeats}`],
    ['conflicts', counts.conflicts, 'in already, with other content; what was first stays'],
    ['late', counts.late, 'after their execution had ended'],
    ['early', counts.early, 'before their time'],
    ['quarantined', counts.quarantined, 'not events that Refold can read'],
    ['refused', counts.refused, 'not sent, or not taken'],
    ['pending', counts.pending, 'in the log, not judged yet: run again to learn what became of them'],
  ]
  const shown = lines.filter(([name, value]) => value > 0 || NEVER_HIDDEN.has(name))
  const width = Math.max(...shown.map(([, value]) => count(value).length))
  return shown.map(([name, value, about]) => {
    const line = `  ${name.padEnd(11)}  ${count(value).padStart(width)}`
    return value > 0 && about !== '' ? `${line}  ${about}` : line
  })
}

/** Several lines, without a last line break. */
export function reportOf(file: string, summary: Summary): string {
  const { counts, elapsedMs, complete, refusedPath, examples, unseen } = summary
  const answered = counts.appended + counts.refused
  const what = complete ? `${count(answered)} rows` : `${count(answered)} of the ${count(counts.rows)} rows read so far`
  const lines = [`${file}: ${what} in ${duration(elapsedMs)} (${rate(answered, elapsedMs)})`, ...countLines(summary)]
  for (const { line, outcome, reason } of examples) lines.push(`  line ${line}: ${outcome}: ${reason}`)
  if (refusedPath !== undefined) lines.push(`What did not get in, with its reasons: ${refusedPath}`)
  if (unseen.length > 0) lines.push(`The map names columns that no row has: ${unseen.join(', ')}`)
  if (!complete) lines.push('Stopped before the end. Run the same command to go on: what is in already is recognised.')
  return lines.join('\n')
}
