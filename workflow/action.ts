// The contract of an action: work with an effect on the world, run by workers. A workflow calls it by its contract and
// never imports what implements it.

import { asError } from '../errors.ts'
import { z } from 'zod'
import { type Duration, milliseconds } from './duration.ts'

/**
 * What is promised of the effect: `at-least-once` (the key is handed to the target), `at-most-once` (an attempt whose
 * worker vanished ends as `unknown`, never a second run), `exactly-once` (the outcome is part of the action's own
 * database transaction).
 */
export type Guarantee = 'at-least-once' | 'at-most-once' | 'exactly-once'

/** Of the transaction an exactly-once action runs in. */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable'

/** All times in milliseconds; the wait before attempt k + 1 is `backoff_ms · factor^(k−1)`, at most `max_ms`. */
export type RetryPolicy = { attempts: number; backoff_ms: number; factor: number; max_ms: number }

/** `P` and `R` are zod schemas: what the author gives, and what comes back. `N` is its name. */
export type Action<P extends z.ZodType = z.ZodType, R extends z.ZodType = z.ZodType, N extends string = string> = {
  readonly kind: 'action'
  readonly name: N
  readonly parameters: P
  readonly result: R
  readonly retry: RetryPolicy
  /** Longest that one attempt may run, ms. */
  readonly timeout_ms: number
  /** Longest between two heartbeats, ms; null: none are asked for. */
  readonly heartbeat_ms: number | null
  readonly isolation: Isolation
  readonly guarantee: Guarantee
  /** Workers of which queue run it; null: those of the topic without a name. */
  readonly queue: string | null
}

export type ActionOptions<P extends z.ZodType, R extends z.ZodType, N extends string = string> = {
  name: N
  parameters: P
  result: R
  retry?: { attempts?: number; backoff?: Duration; factor?: number; max?: Duration }
  timeout?: Duration
  /** An attempt that calls `heartbeat` less often than this has failed; for long actions. A worker that dies is no failure: another repeats the attempt. */
  heartbeat?: Duration
  guarantee?: Guarantee
  /** Default `read committed`; of exactly-once actions. */
  isolation?: Isolation
  queue?: string
}

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,127}$/

/** Names of workflows, actions and queues: letters, digits, `_ . -`, at most 128. Throws TypeError. */
export function checkName(kind: string, name: string): void {
  if (!NAME.test(name))
    throw new TypeError(`${kind} name ${JSON.stringify(name)}: it begins with a letter and has letters, digits, _ . - only`)
}

/** Throws TypeError for a name or policy that is none. Defaults: 3 attempts, 1 s doubling to 1 min, 30 s, at-least-once. */
export function defineAction<P extends z.ZodType, R extends z.ZodType, const N extends string = string>(
  options: ActionOptions<P, R, N>,
): Action<P, R, N> {
  const { name, parameters, result, retry = {}, timeout = '30 s', guarantee = 'at-least-once', queue, heartbeat } = options
  checkName('action', name)
  if (queue !== undefined) checkName('queue', queue)
  const length = (of: string, duration: Duration) => {
    try {
      return milliseconds(duration)
    } catch (error) {
      throw new TypeError(`action ${name}: ${of}: ${asError(error).message}`, { cause: error })
    }
  }
  const policy: RetryPolicy = {
    attempts: retry.attempts ?? 3,
    backoff_ms: length('retry.backoff', retry.backoff ?? '1 s'),
    factor: retry.factor ?? 2,
    max_ms: length('retry.max', retry.max ?? '1 min'),
  }
  if (!Number.isInteger(policy.attempts) || policy.attempts < 1)
    throw new TypeError(`action ${name}: retry.attempts is a whole number from 1`)
  if (!(policy.factor >= 1)) throw new TypeError(`action ${name}: retry.factor is at least 1`)
  return {
    kind: 'action',
    name,
    parameters,
    result,
    retry: policy,
    timeout_ms: length('timeout', timeout),
    heartbeat_ms: heartbeat === undefined ? null : length('heartbeat', heartbeat),
    guarantee,
    isolation: options.isolation ?? 'read committed',
    queue: queue ?? null,
  }
}

/** Payload of `action.scheduled`: all that a worker and a replay need, as it was when the decision was made. */
export type ScheduledPayload = {
  name: string
  /** The author's key; null: the action's id is the key. */
  key: string | null
  group: null
  /** As the author wrote them; these count for the content of the decision. */
  arguments: unknown
  /** Parsed by the contract's schema. */
  parameters: unknown
  retry: RetryPolicy
  timeout_ms: number
  heartbeat_ms?: number | undefined
  guarantee: Guarantee
  queue: string | null
}

const scheduledShape: z.ZodType<ScheduledPayload> = z.object({
  name: z.string(),
  key: z.string().nullable(),
  group: z.null(),
  arguments: z.unknown(),
  parameters: z.unknown(),
  retry: z.object({ attempts: z.number(), backoff_ms: z.number(), factor: z.number(), max_ms: z.number() }),
  timeout_ms: z.number(),
  heartbeat_ms: z.number().optional(),
  guarantee: z.enum(['at-least-once', 'at-most-once', 'exactly-once']),
  queue: z.string().nullable(),
})

/** The payload of an accepted `action.scheduled`. Throws where it is not one of ours. */
export const readScheduled = (payload: string): ScheduledPayload => scheduledShape.parse(JSON.parse(payload))

/** Log lines of actions and workflows. */
export type LineLog = Record<'debug' | 'info' | 'warn' | 'error', (facts: object, message: string) => void>

/** The transaction of an exactly-once action: what is written here is committed with the outcome, or not at all. */
export type ActionSql = { query(text: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]> }

/** What a worker hands to an implementation. */
export type ActionContext<P = unknown> = {
  readonly tenant: string
  readonly executionId: string
  /** Event id of the action.scheduled. */
  readonly actionId: string
  /** Decision number of the action.scheduled. */
  readonly action: number
  /** 1, 2, 3 … */
  readonly attempt: number
  readonly parameters: P
  /** The same for all attempts: hand it to the target, so that a repetition has one effect. */
  readonly idempotencyKey: string
  readonly userId: string | null
  /** Aborted at the timeout, and when the worker is told to stop. */
  readonly signal: AbortSignal
  readonly logger: LineLog
  /** Tells that a long attempt lives; `progress` is kept, about once a second, for the next attempt and for a repetition of this one. */
  heartbeat(progress?: unknown): void
  /** What was kept by `heartbeat`, by an earlier attempt or, where the contract has `heartbeat`, by a worker that died in this one. */
  readonly progress: unknown
  /** A secret of the worker's machine: the setting REFOLD_SECRET_<NAME>. Never hand it on to a result: that is in the log. */
  secret(name: string): string
  /** Of exactly-once actions. */
  readonly sql?: ActionSql
}
