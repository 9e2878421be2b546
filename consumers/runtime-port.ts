// What the runtime asks of Postgres (postgres/runtime-store.ts), and of the schemas (reader-schemas.ts).

import type { LogRecord } from '../kafka/log.ts'
import type { Classified } from '../workflow/events.ts'
import type { Driven, History, Identity, Parked } from './driven.ts'
import type { Timer } from './timers.ts'

/** The runtime's port to Postgres. */
export type RuntimeStore = {
  /** Where to go on; `isNew` when this deployment has never read the partition: then at the recorder's checkpoint. */
  checkpoint(partition: number): Promise<{ next: number; isNew: boolean }>
  /** Moves the checkpoint forward; a smaller one changes nothing. */
  save(partition: number, next: number): Promise<void>
  /** The recorder's checkpoint. */
  recorded(partition: number): Promise<number>
  /** Histories below offset `before` of those that were started by then, or are named in `always`. */
  histories(wanted: readonly Identity[], before: number, always: ReadonlySet<string>): Promise<readonly History[]>
  /** Executions of registered versions that have not ended. */
  open(partition: number): Promise<readonly Identity[]>
  /** Executions parked by this deployment, or by nobody driving them. */
  parked(partition: number): Promise<readonly Identity[]>
  openTimers(partition: number): Promise<readonly Timer[]>
  /** Executions of registered versions with an attempt that was asked for `ms` ago and has no outcome. */
  waiting(partition: number, ms: number): Promise<readonly Identity[]>
  park(execution: Driven, parked: Parked): Promise<void>
  /** Closes the incidents of an execution that goes on. */
  mended(execution: Identity): Promise<void>
  /** Another deployment that lives registers this version. */
  isDrivenElsewhere(workflow: string, version: string): Promise<boolean>
}

export type RuntimeSchemas = {
  /** undefined: quarantined, whatever it is. Waits for a schema's text that the recorder has not stored yet. */
  inspect(record: LogRecord): Promise<Classified | undefined>
}
