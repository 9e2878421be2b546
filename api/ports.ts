// What the API asks of the rest; main.ts wires it.

import type { WorkflowEvent } from '../schemas/generated.ts'
import type { Position } from '../workflow/position.ts'
import type { Checkpoints, Read } from '../postgres/reads/checkpoints.ts'
import type { ExecutionFilter, ExecutionPage, ExecutionRow } from '../postgres/reads/executions.ts'
import type { EventRow } from '../postgres/reads/events.ts'
import type { FoundVerdict } from '../postgres/reads/verdicts.ts'

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
  /** The recorder's checkpoints now. */
  checkpoints: () => Promise<Checkpoints>
}

export type Appender = {
  /** Resolves once the event is safe in the log. Errors are those of `Log.append`. */
  append(event: WorkflowEvent, headers?: Readonly<Record<string, string>>): Promise<Position>
}

/** One part of the process as /readyz shows it. */
export type Part = { name: string; ready: boolean; detail?: string }

export type ApiDeps = {
  /** Token → tenant. */
  tokens: ReadonlyMap<string, string>
  appender: Appender
  reads: Reads
  /** The events topic's pinned partition count. */
  partitions: number
  /** Partition → one past the newest record of the log. */
  logEnds: () => Promise<ReadonlyMap<number, number>>
  readiness: () => Promise<readonly Part[]>
}
