// [file → read → map → lanes → POST /v1/events → verdicts → summary]
//
// An import from end to end. Rows of one execution arrive in file order; the same file gives the same ids, so an import
// that was cut off, or is run again, adds only what is missing.

import { asError, RefoldError } from '../../errors.ts'
import { parseJsonVerbatim } from '../../workflow/json.ts'
import { createMapper, type Item } from './item.ts'
import { createLanes } from './lanes.ts'
import type { ImportMap } from './map.ts'
import type { Progress } from './progress.ts'
import { openSource, type Row } from './read.ts'
import { createRefusedFile, type RefusedFile, type RefusedRow } from './refused.ts'
import { type Answer, type Outcome, send, type Target } from './send.ts'

export type ImportOptions = {
  file: string
  map: ImportMap
  target: Target
  /** Requests in flight. */
  parallel: number
  /** Most rows in a request. */
  batch: number
  /** Where rows that did not get in are written. */
  refusedPath: string
  /** Fires when the user wants to stop: requests in flight are finished, nothing else is sent. */
  stop: AbortSignal
  /** Given once, at the start; `now` may be called at any time. */
  onStart?: (now: () => Progress) => void
}

export type Counts = {
  /** Rows read from the file. */
  rows: number
  /** Items the log took, whatever became of them. */
  appended: number
  accepted: number
  duplicates: number
  /** Duplicates in batches whose first answer was lost: this import may have brought them in itself. */
  duplicatesOfRepeats: number
  conflicts: number
  /** Appended after their execution ended, before their time, or quarantined. */
  late: number
  early: number
  quarantined: number
  /** Unreadable, not to be mapped, or refused by the API. */
  refused: number
  /** Appended; the verdict was not there in time, or was not asked for. */
  pending: number
}

export type Summary = {
  counts: Counts
  elapsedMs: number
  /** All rows were read and answered. */
  complete: boolean
  /** Where the rows that did not get in are. */
  refusedPath?: string
  /** The first few of them. */
  examples: RefusedRow[]
  /** Columns the map names and no row had. */
  unseen: string[]
}

type Entry = { line: number; item: Item }

const BATCH_BYTES = 4 * 1024 * 1024
const EXAMPLES = 5

const blank = (): Counts => ({
  rows: 0,
  appended: 0,
  accepted: 0,
  duplicates: 0,
  duplicatesOfRepeats: 0,
  conflicts: 0,
  late: 0,
  early: 0,
  quarantined: 0,
  refused: 0,
  pending: 0,
})

const reasonOf = ({ problem, reason, detail }: Outcome): string =>
  problem ? [problem.title, problem.detail].filter((part) => part).join(': ') : [reason, detail].filter((part) => part).join(': ')

/** Counts outcomes and keeps those that are not in. */
function createTally(refused: RefusedFile) {
  const counts = blank()
  const examples: RefusedRow[] = []

  const reject = (row: RefusedRow) => {
    refused.write(row)
    if (examples.length < EXAMPLES) examples.push(row)
  }

  const one = (outcome: Outcome, { line, item }: Entry, again: boolean) => {
    const rejected = (kind: RefusedRow['outcome']) =>
      reject({ line, outcome: kind, reason: reasonOf(outcome), row: parseJsonVerbatim(item.json) })
    if (outcome.status !== 'appended') {
      counts.refused++
      rejected('refused')
      return
    }
    counts.appended++
    const verdict = outcome.verdict ?? 'pending'
    switch (verdict) {
      case 'accepted':
      case 'pending':
        counts[verdict]++
        break
      case 'duplicate':
        counts.duplicates++
        if (again) counts.duplicatesOfRepeats++
        break
      case 'conflict':
        counts.conflicts++
        rejected(verdict)
        break
      case 'late':
      case 'early':
      case 'quarantined':
        counts[verdict]++
        rejected(verdict)
        break
      default:
        verdict satisfies never
    }
  }

  return {
    counts,
    examples,
    unsent(row: RefusedRow) {
      counts.refused++
      reject(row)
    },
    answered(batch: readonly Entry[], { outcomes, again }: Answer) {
      for (const [i, entry] of batch.entries()) one(outcomes[i]!, entry, again)
    },
  }
}

const shownRow = (row: Row) => ('cells' in row ? { row: row.cells } : row.text === undefined ? {} : { row: row.text })

/**
 * Imports a file. Rejects with `map-invalid` or `import-unreadable` for the file, `import-failed` when the API does not
 * answer, `unauthenticated` or `request-invalid` when it refuses the whole; rows sent before are in. Stopped, it resolves.
 */
export async function runImport(options: ImportOptions): Promise<Summary> {
  const { file, map, target, parallel, batch, stop } = options
  const began = performance.now()
  const source = await openSource(file, map)
  const refused = await createRefusedFile(options.refusedPath)
  const tally = createTally(refused)
  const { counts } = tally
  const toItem = createMapper(map)
  const lanes = createLanes<Entry>({
    lanes: parallel,
    entries: batch,
    bytes: BATCH_BYTES,
    stop,
    async send(entries) {
      const items = entries.map((entry) => entry.item.json)
      tally.answered(entries, await send(items, target, stop))
    },
  })

  options.onStart?.(() => {
    const { read, total } = source.bytes()
    const elapsedMs = performance.now() - began
    return { bytesRead: read, bytesTotal: total, read: counts.rows, done: counts.appended + counts.refused, elapsedMs }
  })

  const take = async (row: Row) => {
    counts.rows++
    if ('fault' in row) return tally.unsent({ line: row.line, outcome: 'unreadable', reason: row.fault, ...shownRow(row) })
    const item = toItem(row.cells)
    if ('fault' in item) return tally.unsent({ line: row.line, outcome: 'unmapped', reason: item.fault, ...shownRow(row) })
    return lanes.put(item.execution, { line: row.line, item }, Buffer.byteLength(item.json))
  }

  let failure: Error | undefined
  try {
    for await (const row of source.rows) {
      if (stop.aborted) break
      await take(row)
    }
    if (!stop.aborted) await lanes.finish()
  } catch (error) {
    failure = asError(error)
    // A file that cannot be read on: the rows before are sent all the same.
    if (failure instanceof RefoldError && failure.code === 'import-unreadable' && !stop.aborted)
      await lanes.finish().catch((late: unknown) => (failure = asError(late)))
  }
  // What is in flight is answered before anybody reads the counts, also after a failure; the first failure is the one told.
  await lanes.drain().catch((error: unknown) => (failure ??= asError(error)))
  const refusedPath = await refused.close()
  // Whoever stopped it knows; a request given up because of that is no news.
  if (failure && !stop.aborted) throw tellProgress(failure, counts)
  return {
    counts,
    elapsedMs: performance.now() - began,
    complete: !stop.aborted,
    ...(refusedPath === undefined ? {} : { refusedPath }),
    examples: tally.examples,
    unseen: source.unseen(),
  }
}

function tellProgress(failure: Error, { appended, rows }: Counts): Error {
  if (!(failure instanceof RefoldError) || appended === 0) return failure
  return new RefoldError(failure.code, `${failure.detail}; ${appended} of ${rows} rows read so far had been sent`, { cause: failure })
}
