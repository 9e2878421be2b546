// What a projector asks of Postgres, for one generation (postgres/projection-store.ts). J1 to J8 are in projector.ts.

import type { PlainRow, ProjectionTransaction } from '../projections/define.ts'
import type { FromAudit, ProjectionEvent } from '../projections/event.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'

/** What one look at the database says of a batch: how far it may go, and which of its offsets the recorder did not accept. */
export type Window = {
  /** The recorder's checkpoint. */
  recorded: number
  /** A hold that has not run out. */
  stopAt: number | undefined
  /** Offsets of the batch below `recorded` that were not accepted. */
  refused: ReadonlySet<number>
}

/** A row as it is stored; null: it is removed. */
export type Change = { partition: number; tenant: string; key: PlainRow; row: PlainRow | null; offset: number }

export type RowKey = { partition: number; tenant: string; key: PlainRow }

export type StoredRow = { partition: number; tenant: string; row: PlainRow }

/** Offsets [from, next) of a partition; as a move: its checkpoint, from where to where. */
export type Span = { partition: number; from: number; next: number }

/**
 * J8. `assumed`: it moves only if the recorder passed `next` and refused none of it. J9. `lock`: that of the recorder's transaction which
 * does, and which is waited for, by `FoldsFirst.write`.
 */
export type Move = Span & { assumed?: boolean; lock?: number | undefined }

export type Outcome = 'stored' | 'overtaken' | 'held'

/** `read` and `write` reject with `RowsRefused` (projections/refused.ts). */
export type ProjectionWork = {
  read(keys: readonly RowKey[]): Promise<readonly StoredRow[]>
  write(changes: readonly Change[]): Promise<void>
  /** For handlers. */
  sql: ProjectionTransaction
}

/** J7 */
export type FoldsFirst = {
  read: ProjectionWork['read']
  /**
   * Moves the checkpoints at `from` and writes the rows of those partitions, together. One answer for each move, in order; `held`
   * for one whose assumption does not hold, too.
   */
  write(moves: readonly Move[], changes: readonly Change[]): Promise<readonly Outcome[]>
}

/** The projector's port to Postgres, of one generation. */
export type ProjectionStore = {
  checkpoint(partition: number): Promise<number>
  /** The recorder's checkpoint. */
  recorded(partition: number): Promise<number>
  /** One answer for each, in order. */
  windows(asked: readonly Span[]): Promise<readonly Window[]>
  /** What only the audit knows, by offset. */
  audit(partition: number, from: number, next: number): Promise<ReadonlyMap<number, FromAudit>>
  /** Accepted events of the audit from an offset on, at most so many. */
  events(
    partition: number,
    from: number,
    before: number,
    limit: number,
  ): Promise<readonly (FromAudit & { event: WorkflowEvent; offset: number; appendedAt: number })[]>
  /**
   * Runs `work` between the moved checkpoints and the commit, with the partitions whose checkpoint was at `from`. `held`: a hold
   * came in between. One answer for each move, in order.
   */
  transaction(
    moves: readonly Move[],
    work: (work: ProjectionWork, moved: ReadonlySet<number>) => Promise<void>,
  ): Promise<readonly Outcome[]>
  /** Absent for handlers: their statements are their own. */
  foldsFirst?: FoldsFirst
  /** Positions that a person let pass. */
  skipped(partition: number): Promise<ReadonlySet<number>>
  /** Passes a position that a person let another generation of the projection pass; gives the reason, undefined: none did. */
  takeSkip(partition: number, offset: number): Promise<string | undefined>
  /** Whether an incident says that it is parked: also one of a process before this one. */
  isParked(partition: number): Promise<boolean>
  /** Of a generation that was dropped meanwhile there is no incident. */
  park(partition: number, offset: number, error: Error, event: ProjectionEvent): Promise<void>
  mended(partition: number): Promise<void>
}

/** What the recorder tells at each commit. */
export type RecordedNews = {
  /** Its checkpoint, as it was told last; undefined: not told yet. */
  told(partition: number): number | undefined
  /** Resolves when it is told to be above this offset, or after ms. */
  above(partition: number, offset: number, ms: number): Promise<void>
  /** J9. Of a batch that the recorder of this process is storing. `above` resolves for it, too. */
  lock?(span: Span): number | undefined
}
