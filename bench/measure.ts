// Sides that take turns, and what is printed of them.

import { availableParallelism, cpus, loadavg } from 'node:os'
import type { Ground } from './ground.ts'

export type BenchOptions = {
  rounds: number | undefined
  events: number | undefined
  seconds: number | undefined
  size: number | undefined
  clients: number | undefined
  part: string | undefined
  fsync: boolean
  only: 'ours' | 'limit' | undefined
}

export type Bench = (ground: Ground, options: BenchOptions) => Promise<void>

/** `cpu` says what this process' CPU time does not: that of a turn in other processes. */
type Answer = { figure: number; also: string; cpu?: string }

/** One turn; answers its figure, and what is worth a word beside it. */
export type Side = { name: 'ours' | 'limit'; turn: () => Promise<number | Answer> }

export type Spread = { min: number; median: number; max: number }

export const say = (line: string) => console.log(line)

export const rate = (value: number) => `${Math.round(value).toLocaleString('en-US')}/s`
export const percent = (share: number) => `${Math.round(100 * share)} %`
export const millis = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)} ms`

/** What is measured, what isn't, and on which machine. */
export function introduce(title: string, measures: string, leavesOut: string): void {
  say(`${title}\n  measures:  ${measures}\n  leaves out: ${leavesOut}`)
  const load = loadavg()[0]?.toFixed(1)
  say(
    `  machine:   ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), Node ${process.versions.node}, load ${load} at the start\n`,
  )
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export const spreadOf = (values: readonly number[]): Spread => ({
  min: Math.min(...values),
  median: (percentile(values, 0.5) + percentile(values, 0.4999)) / 2,
  max: Math.max(...values),
})

const shown = ({ min, median, max }: Spread, format: (value: number) => string) =>
  `median ${format(median)}   min ${format(min)}   max ${format(max)}`

async function taken({ name, turn }: Side, format: (value: number) => string): Promise<{ figure: number; line: string }> {
  const before = process.cpuUsage()
  const answer = await turn()
  const { user, system } = process.cpuUsage(before)
  const { figure, also, cpu: told }: Answer = typeof answer === 'number' ? { figure: answer, also: '' } : answer
  const cpu = told ?? `${((user + system) / 1e6).toFixed(1)} s of CPU in this process`
  return { figure, line: `${name.padEnd(6)} ${format(figure).padEnd(12)} ${also === '' ? '' : `${also}; `}${cpu}` }
}

/**
 * Lets the sides take turns, A B A B, after one turn each that is not counted (`warm`); prints each figure, the spread
 * and the ratio of the medians. `better` says which figure is: a rate that is higher, or a time that is lower.
 */
export async function takeTurns(
  sides: readonly [Side, Side],
  format: (value: number) => string,
  better: 'higher' | 'lower',
  { rounds, only, warm = true }: { rounds: number; only: BenchOptions['only']; warm?: boolean },
): Promise<void> {
  const playing = sides.filter(({ name }) => only === undefined || name === only)
  const figures = new Map<string, number[]>(playing.map(({ name }) => [name, []]))
  if (warm) for (const side of playing) say(`  warm-up  ${(await taken(side, format)).line}`)
  for (let round = 1; round <= rounds; round++) {
    for (const side of playing) {
      const { figure, line } = await taken(side, format)
      figures.get(side.name)?.push(figure)
      say(`  round ${round}  ${line}`)
    }
  }
  say('')
  for (const [name, values] of figures) say(`  ${name.padEnd(6)} ${shown(spreadOf(values), format)}`)
  const ours = figures.get('ours')
  const limit = figures.get('limit')
  if (!ours || !limit) return
  const { min, median, max } = spreadOf(ours.map((value, i) => value / (limit[i] ?? Number.NaN)))
  const shape = better === 'higher' ? percent : (value: number) => `${value.toFixed(1)} times`
  say(`  ours is ${shape(median)}${better === 'higher' ? ' of' : ''} the limit (round by round: min ${shape(min)}, max ${shape(max)})\n`)
}
