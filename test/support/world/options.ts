// What a world (world.ts) is made of.

import type { WorkerStore } from '../../../consumers/action-worker.ts'
import type { NotifierOptions } from '../../../consumers/notifier.ts'
import type { RuntimeOptions } from '../../../consumers/runtime.ts'
import type { RuntimeStore } from '../../../consumers/runtime-port.ts'
import type { LogHandler } from '../../../kafka/log.ts'
import type { FoldProjection } from '../../../projections/define.ts'
import type { Guarantee } from '../../../workflow/action.ts'
import type { App } from '../../../workflow/app.ts'
import type { ChangedMove } from './projection.ts'

/** `all`: a runtime and a worker, of the first deployment as `runtime` is; `second`: a runtime of the second. */
export type Kind = 'recorder' | 'runtime' | 'second' | 'worker' | 'all' | 'projector' | 'notifier'

/** Ports as a test changes them, to see that the check sees it; handlers of readers with what they store. */
export type Mutation = {
  runtime?: (options: RuntimeOptions) => RuntimeOptions
  runtimeHandler?: (handler: LogHandler, store: RuntimeStore) => LogHandler
  workerHandler?: (handler: LogHandler, store: WorkerStore) => LogHandler
  projectionMove?: ChangedMove
  /** The recorder tells the projectors beside it, before it stores them, of batches of which it refuses records, too. */
  tellsOfAll?: true
  notifier?: (options: NotifierOptions) => NotifierOptions
  /** Effects of actions of this guarantee are lost, and their outcomes kept: of a transaction, what it wrote. */
  loses?: Guarantee
}

export type WorldOptions = {
  /** A number below 1, the next each time. */
  random: () => number
  /** Its workflows' versions 1 and 2 are driven by a deployment each. */
  app: App
  projections: readonly FoldProjection[]
  /** Processes of each kind that there always are. */
  processes: Readonly<Record<Kind, number>>
  /** The share of processes of a kind that have a recorder beside them. */
  recording: Readonly<Partial<Record<Kind, number>>>
  /** How often a process dies, of all the places where it could. */
  deaths: number
  /** How often Postgres or Redis is not reached, or its answer is lost, of all questions. */
  failures: number
  /** Entries that the stream of notifications keeps. */
  streamLength: number
  /** What a database action writes. */
  query: (text: string, values: readonly unknown[]) => void
  mutation?: Mutation
}
