// accepted events → [replay] → decisions → log
//
// A workflow function, run on the accepted events of one execution: what a runtime sees of it. How it is done is in
// driven-execution.ts.

import type { WorkflowEvent } from '../schemas/generated.ts'
import type { LineLog } from './action.ts'
import { Execution } from './driven-execution.ts'
import type { Workflow } from './workflow.ts'

/** An accepted event, in seq order, decisions among them. */
export type Fed = {
  event: WorkflowEvent
  seq: number
  appendedAt: number
  /** Its content digest where that is known; of a row of the audit it must be, since states there are computed ones. */
  content?: string
}

export type OpenAction = {
  /** Decision number of its action.scheduled. */
  action: number
  /** Event id of its action.scheduled. */
  actionId: string
  name: string
  attempt: number
  /** Payload text of the accepted action.scheduled. */
  scheduled: string
  state: 'requested' | 'backing-off'
}

export type Divergence = { step: number; expected: string; got: string; reason: string }

export type Replay = {
  /** Resolves when what the event caused is computed. */
  feed(fed: Fed): Promise<void>
  /** It waits for the outcome of this attempt and, as far as the log was read, for nothing else. */
  awaitsOnly(action: number, attempt: number): boolean
  /**
   * Feeds what `awaitsOnly` waits for, before it is in the log; `about`: ms since 1970 UTC. Resolves to whether what was decided on it
   * may be appended behind it; if not, this replay is of no use any more.
   */
  foresee(event: WorkflowEvent, about: number): Promise<boolean>
  /** What was foreseen was read back as the next event. */
  foreseen(appendedAt: number): void
  readonly status: 'running' | 'ended' | 'diverged'
  /** Every decision computed: decision n at index n − 1, ready to be appended. */
  readonly decisions: readonly WorkflowEvent[]
  /** Newest decision that was read back. */
  readonly readBack: number
  /** Actions whose current attempt was read back and has no outcome, or waits to be retried. */
  readonly openActions: ReadonlyMap<number, OpenAction>
  /** The one of them that decision n scheduled. */
  openAction(n: number): OpenAction | undefined
  /** Timers read back, neither fired nor cancelled: decision number → fire time, ms. */
  readonly openTimers: ReadonlyMap<number, number>
  readonly openWaits: ReadonlyMap<number, { names: readonly string[] }>
  readonly divergence: Divergence | undefined
  dispose(): void
}

export type ReplayOptions = {
  workflow: Workflow
  tenant: string
  executionId: string
  logger?: LineLog
  /** True while old events are fed: the author's logger is silent. */
  replaying?: () => boolean
  /** Told when an attempt of action n is asked for: it was read back. */
  requested?: (n: number) => void
}

export function createReplay(options: ReplayOptions): Replay {
  const execution = new Execution(options)
  return {
    feed: (fed) => execution.feed(fed),
    awaitsOnly: (action, attempt) => execution.awaitsOnly(action, attempt),
    foresee: (event, about) => execution.foresee(event, about),
    foreseen: (appendedAt) => execution.foreseen(appendedAt),
    get status() {
      return execution.status
    },
    decisions: execution.decisions,
    get readBack() {
      return execution.readBack
    },
    get openActions() {
      return new Map([...execution.actions].flatMap(([n, { open }]) => (open ? [[n, open] as const] : [])))
    },
    openAction: (n) => execution.actions.get(n)?.open,
    get openTimers() {
      return new Map([...execution.timers].flatMap(([n, { fireAt }]) => (n <= execution.readBack ? [[n, fireAt] as const] : [])))
    },
    get openWaits() {
      return new Map([...execution.waits].map(([n, { names }]) => [n, { names }]))
    },
    get divergence() {
      return execution.divergence
    },
    // What the function waits on is never settled; nothing else refers to it.
    dispose() {
      if (execution.status === 'running') execution.status = 'ended'
    },
  }
}
