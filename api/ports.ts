// What the API asks of the rest; main.ts wires it.

import type { Credentials } from './authentication.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import type { Position } from '../workflow/position.ts'
import type { Checkpoints, Read } from '../postgres/reads/checkpoints.ts'
import type { ExecutionFilter, ExecutionPage, ExecutionRow } from '../postgres/reads/executions.ts'
import type { EventPage, EventRow } from '../postgres/reads/events.ts'
import type { KeyedRow, OperationRow, ProjectionRow, RowFilter, RowPage } from '../postgres/reads/projections.ts'
import type { Projection } from '../projections/define.ts'
import type { ProjectionRequests } from '../postgres/projection-requests.ts'
import type { ReceiptRow, Sent } from '../postgres/reads/receipts.ts'
import type { Replayed } from '../postgres/reads/replay.ts'
import type { SnapshotRow } from '../postgres/reads/snapshots.ts'
import type { IncidentFilter, IncidentRow, ProcessRow, Standing } from '../postgres/reads/standing.ts'
import type { ActionRow, OpenWork } from '../postgres/reads/work.ts'
import type { FoundVerdict, JudgedRow, RefusalFilter, RefusalPage } from '../postgres/reads/verdicts.ts'

/** Reads of one tenant. All reject with RefoldError `database-unavailable` while Postgres is away. */
export type Reads = {
  execution: (tenant: string, executionId: string, partition: number) => Promise<Read<ExecutionRow | undefined>>
  executions: (tenant: string, filter: ExecutionFilter) => Promise<Read<ExecutionPage>>
  /** Accepted events after seq `after`, at most `limit`; undefined when the tenant has no such execution. */
  history: (
    tenant: string,
    executionId: string,
    partition: number,
    page: { after: number; limit: number },
  ) => Promise<Read<EventRow[] | undefined>>
  /** The verdicts on the records at these positions; those not decided yet are left out. Keys as `p7:120345`. */
  verdicts: (tenant: string, positions: readonly Position[]) => Promise<Read<ReadonlyMap<string, FoundVerdict>>>
  /** The state at a seq or a moment of the past; undefined when the tenant has no such execution. */
  state: (
    tenant: string,
    executionId: string,
    until: { replayUntil?: number | Date; recordedUntil?: Date },
  ) => Promise<Omit<Replayed, 'debug' | 'events'> | undefined>
  /** All judged records that carried an event id. */
  receipt: (tenant: string, executionId: string, eventId: string, partition: number) => Promise<Read<readonly ReceiptRow[]>>
  /** Content digests (hex) of what is accepted under these ids; keys as `<execution>/<event>`. */
  contents: (tenant: string, sent: readonly Sent[]) => Promise<ReadonlyMap<string, string>>
  /** A tenant's accepted events after these positions. */
  eventsAfter: (tenant: string, page: { after: Checkpoints; limit: number }) => Promise<Read<EventPage>>
  /** Records that were not accepted. */
  refusals: (tenant: string, filter: RefusalFilter) => Promise<Read<RefusalPage>>
  /** The verdict on the record at a position; with `nobodys` also on one that belongs to no tenant. */
  verdict: (tenant: string, position: Position, nobodys: boolean) => Promise<Read<JudgedRow | undefined>>
  /** Kept snapshots of an execution, the newest first; undefined when the tenant has no such execution. */
  snapshots: (tenant: string, executionId: string, partition: number) => Promise<Read<readonly SnapshotRow[] | undefined>>
  /** What needs a person; with `nobodys` also what belongs to no tenant. The newest first. */
  incidents: (tenant: string, nobodys: boolean, filter: IncidentFilter) => Promise<readonly IncidentRow[]>
  /** Runtimes and workers that told of themselves within 30 s. */
  processes: (tenant: string) => Promise<readonly ProcessRow[]>
  /** Actions of an execution by their numbers; undefined when the tenant has no such execution. */
  actions: (
    tenant: string,
    executionId: string,
    partition: number,
    page: { after: number; limit: number },
  ) => Promise<Read<readonly ActionRow[] | undefined>>
  /** What of an execution's work is open. */
  openWork: (tenant: string, executionId: string) => Promise<OpenWork>
  /** What a diagnosis rests on beside that: what runs, and how far it is. */
  standing: (tenant: string, executionId: string, partition: number) => Promise<Standing>
  /** Those of these executions that have ended. */
  ended: (tenant: string, executionIds: readonly string[]) => Promise<readonly ExecutionRow[]>
  projections: (tenant: string) => Promise<readonly ProjectionRow[]>
  projection: (tenant: string, name: string) => Promise<ProjectionRow | null>
  /** Rows of a projection's live generation as JSON texts; null: there is no such projection or table. */
  rows: (tenant: string, name: string, filter: RowFilter) => Promise<RowPage | null>
  /** Position (`p7:120345`) of each event that a person let a generation pass → the reason. */
  skips: (tenant: string, name: string, generation: number) => Promise<ReadonlyMap<string, string>>
  /** Bytes on disk of a generation. */
  generationSize: (tenant: string, name: string, generation: number) => Promise<number>
  /** Rows of its first table by their keys, as text. */
  rowsByKey: (
    tenant: string,
    name: string,
    keys: readonly (readonly string[])[],
  ) => Promise<{ rows: readonly KeyedRow[]; generation: number | null } | null>
  operations: (tenant: string, limit: number, projection?: string) => Promise<readonly OperationRow[]>
  operation: (tenant: string, id: string) => Promise<OperationRow | null>
  /** The recorder's checkpoints now. */
  checkpoints: () => Promise<Checkpoints>
}

export type Appender = {
  /** Resolves once the event is safe in the log. Errors are those of `Log.append`. */
  append(event: WorkflowEvent, headers?: Readonly<Record<string, string>>): Promise<Position>
}

export type Redriver = {
  /** Appends a record with these bytes. Errors: `redrive-impossible`, and those of `Log.append`. */
  redrive(kept: { key: Uint8Array | null; value: Uint8Array | null }): Promise<Position>
}

/** One part of the process as /readyz shows it. */
export type Part = { name: string; ready: boolean; detail?: string }

/** Tells of executions that end, where a runtime is in this process. */
export type Endings = {
  /** A runtime of this process tells of the executions of this partition. */
  tells: (partition: number) => boolean
  /** Tells of the ending, once; answers how to stop listening. */
  listen: (
    tenant: string,
    executionId: string,
    told: (ending: { event: WorkflowEvent; partition: number; offset: number }) => void,
  ) => () => void
}

export type ApiDeps = Credentials & {
  appender: Appender
  redriver: Redriver
  reads: Reads
  endings: Endings
  projections: ProjectionRequests
  /** Projections whose code this process has: for what a row comes from and how rows change. */
  folds: readonly Projection[]
  /** The events topic's pinned partition count. */
  partitions: number
  /** Partition → one past the newest record of the log. */
  logEnds: () => Promise<ReadonlyMap<number, number>>
  readiness: () => Promise<readonly Part[]>
  /** Told of each answered request; `route` is its pattern, ms the time until the answer was sent. */
  answered?: (facts: { method: string; route: string; status: number; ms: number }) => void
  /** Told of what became of each POST of events. */
  taken?: (facts: { appended: number; refused: number; unknown: number }) => void
  /** What /metrics shows; without it there is no such route. */
  metrics?: { contentType: string; metrics: () => Promise<string> }
}
