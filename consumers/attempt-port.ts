// request → [ports of an attempt] → Redis, Postgres
//
// What an attempt (run-attempt.ts) asks of Redis, which may lose everything at any moment, and of Postgres, which may not.

import type { AttemptOutcome } from '../producers/inputs.ts'
import type { ActionRequest } from '../schemas/generated.ts'
import type { ActionSql, Isolation } from '../workflow/action.ts'

/** A result kept under an idempotency key, and the digest of the parameters that made it. */
export type KeptResult = { result: string; parameters: string }

/**
 * How an attempt begins: its outcome was appended already, as far as anybody remembers; its key has a result; somebody else
 * runs its key; or it is ours, with the lock held.
 */
export type Begun = { state: 'done' } | { state: 'kept'; kept: KeptResult } | { state: 'busy' } | { state: 'ours' }

/** What tells an attempt from all others, and its key. */
export type AttemptName = Pick<ActionRequest, 'action_id' | 'tenant' | 'execution_id' | 'action' | 'attempt' | 'name' | 'key'>

/** The worker's port to Redis. Each call rejects while Redis is away. */
export type ActionMemory = {
  /** It begins soon: asked ahead, so that `begin` need not wait. To be followed by `begin` or `unexpect`. */
  expect(attempt: AttemptName): void
  /** It does not begin here after all: what was taken for it is given back. */
  unexpect(attempt: AttemptName): void
  /** Looks, and takes the lock of the key; waits up to 5 s for it. */
  begin(request: ActionRequest): Promise<Begun>
  /** Keeps a result unless the key has one; gives what is held then. */
  keep(request: ActionRequest, kept: KeptResult): Promise<KeptResult>
  /** Gives the lock back, if it is ours; `reported`: an outcome is in the log, which is remembered. */
  end(request: ActionRequest, reported: boolean): Promise<void>
}

export type Claim = 'ours' | 'held' | 'expired'

/** Of the transaction of an exactly-once action; `timeout` of its attempt, ms. */
export type Limits = { isolation: Isolation; timeout: number }

/** The worker's port to Postgres. */
export type ActionStore = {
  /** A look whether an old request is still wanted: its attempt has no outcome, the action is open, the execution runs. */
  isOpen(request: ActionRequest): Promise<boolean>
  /** The outcome stored for an attempt of a stronger guarantee. */
  outcome(request: ActionRequest): Promise<AttemptOutcome | undefined>
  /** Stores an outcome unless the attempt has one; gives what is stored then. */
  putOutcome(request: ActionRequest, outcome: AttemptOutcome): Promise<AttemptOutcome>
  /** `ttl` in ms, by the database's clock. */
  claim(request: ActionRequest, ttl: number): Promise<Claim>
  renew(request: ActionRequest, ttl: number): Promise<void>
  /**
   * Runs `work` in a transaction that stores its result as the outcome; a stored one wins and undoes the work. What still runs on the
   * server when `work` has failed is ended there.
   */
  inTransaction(request: ActionRequest, limits: Limits, work: (sql: ActionSql) => Promise<string>): Promise<AttemptOutcome>
  progress(request: ActionRequest): Promise<string | undefined>
  tellProgress(request: ActionRequest, progress: string | undefined): Promise<void>
}
