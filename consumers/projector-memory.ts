// accepted events → [fold in memory] → rows of one generation
//
// Owns: the rows of one partition as folded so far, kept from batch to batch, so that few are read back. Doesn't own: when a
// batch is stored (projector.ts): who fails to store one throws its memory away.
//
// F1  A row is known under its key as Postgres tells keys apart: 2026-01-01T00:00:00Z and …00.000Z are one row.
// F2  Memory that began with the first offset, and forgot nothing, holds every row there is: then none is read.

import { asError } from '../errors.ts'
import type { ColumnType, FoldProjection, HandledProjection, PlainRow } from '../projections/define.ts'
import type { ProjectionEvent } from '../projections/event.ts'
import type { Change, ProjectionWork } from './projection-port.ts'

/** An author's function threw at an event. */
export class Thrown extends Error {
  readonly event: ProjectionEvent

  constructor(event: ProjectionEvent, cause: unknown) {
    super(asError(cause).message, { cause })
    this.event = event
  }
}

/** `round`: when it was last changed. */
type Entry = Change & { round: number }

export type Memory = {
  /** Offset up to which the rows are folded. */
  next: number
  rows: Map<string, Entry>
  /** F2 */
  whole: boolean
  round: number
}

/** `from` is the checkpoint: at 0 the generation has no row of the partition yet. */
export const memoryFrom = (from: number): Memory => ({ next: from, rows: new Map(), whole: from === 0, round: 0 })

/** Forgets what it has known longest, beyond so many rows. */
export function trim(memory: Memory, most: number): void {
  let over = memory.rows.size - most
  if (over <= 0) return
  memory.whole = false
  for (const name of memory.rows.keys()) {
    if (over-- <= 0) return
    memory.rows.delete(name)
  }
}

// Postgres takes no NUL in a text, so it parts the columns of a key.
const PART = '\u0000'

/** F1. */
function keyText(value: unknown, type: ColumnType): string {
  if (typeof value !== 'string') return `\u0001${String(value)}`
  if (type === 'timestamptz') return value.length === 24 && value.endsWith('Z') ? value : new Date(value).toISOString()
  return type === 'uuid' ? value.toLowerCase() : value
}

/** Gives events to `take`, in order; rejects with what it threw. */
export type Feed = (take: (event: ProjectionEvent) => void) => Promise<void>

/** Folds events into the rows of a partition; answers those that changed, each once. */
export async function applyFold(
  one: FoldProjection,
  partition: number,
  memory: Memory,
  feed: Feed,
  work: Pick<ProjectionWork, 'read'>,
): Promise<readonly Change[]> {
  const [table] = one.tables
  const columns = (table?.key ?? []).map((column) => ({ column, type: table?.columns[column] ?? 'text' }))
  const nameOf = (tenant: string, key: PlainRow) => {
    let name = tenant
    for (const { column, type } of columns) name += PART + keyText(key[column], type)
    return name
  }
  const round = ++memory.round
  const changes: Change[] = []
  const evolve = (entry: Entry, event: ProjectionEvent) => {
    entry.row = one.evolve(entry.row ?? one.initial(entry.key), event)
    entry.offset = event.offset
    if (entry.round === round) return
    entry.round = round
    changes.push(entry)
  }
  const unknown: Entry[] = []
  const entryOf = (tenant: string, key: PlainRow) => {
    const name = nameOf(tenant, key)
    const known = memory.rows.get(name)
    if (known) return known
    const entry = { partition, tenant, key, row: null, offset: -1, round: 0 }
    memory.rows.set(name, entry)
    unknown.push(entry)
    return entry
  }
  /** `each` for every row that an event touches. */
  const touch = (event: ProjectionEvent, each: (entry: Entry, event: ProjectionEvent) => void) => {
    try {
      const { tenant } = event
      for (const key of one.keys(event)) each(entryOf(tenant, key), event)
    } catch (error) {
      throw new Thrown(event, error)
    }
  }
  if (memory.whole) {
    // One event after the other, so that none outlives its turn: those that do are what garbage collection costs.
    await feed((event) => touch(event, evolve))
    return changes
  }
  const touched: { entry: Entry; event: ProjectionEvent }[] = []
  await feed((event) => touch(event, (entry) => touched.push({ entry, event })))
  if (unknown.length > 0)
    for (const { tenant, row } of await work.read(unknown)) {
      const entry = memory.rows.get(nameOf(tenant, row))
      if (entry) entry.row = row
    }
  for (const { entry, event } of touched) {
    try {
      evolve(entry, event)
    } catch (error) {
      throw new Thrown(event, error)
    }
  }
  return changes
}

/** A handler takes a batch as a whole; of one that throws the first event is named. */
export async function handle(one: HandledProjection, events: readonly ProjectionEvent[], work: Pick<ProjectionWork, 'sql'>): Promise<void> {
  try {
    if (events.length > 0) await one.handle(work.sql, events)
  } catch (error) {
    const [first] = events
    if (first) throw new Thrown(first, error)
    throw error
  }
}
