// request → [one attempt of an action] → outcome → log
//
// Owns: the order of the steps around the author's function, by the guarantee of the action. Doesn't own: which request
// comes when (action-worker.ts), Redis and SQL (its ports).
//
// A1  An attempt that has an outcome is not run again: its mark or its stored outcome is looked for first; where somebody else may have
//     run it, who died before the mark, in the record too.
// A2  A successful result is kept before its outcome is appended; what is then held under the key is what is reported. Under
//     the action's own id, which no other action has, it is kept while the outcome is appended (decision 0006).
// A3  at-most-once: nothing runs without a claim. A claim of somebody who vanished becomes `unknown`, never a second run.
// A4  exactly-once: the outcome is written in the action's own transaction. The first one wins.
// A5  A busy lock, an action nobody here implements, and a worker that stops are no outcomes: the request stays.
// A6  Redis away: run anyway. It holds nothing that must survive.

import { asError } from '../errors.ts'
import type { Faults } from '../faults.ts'
import type { AttemptOutcome } from '../producers/inputs.ts'
import type { ActionRequest } from '../schemas/generated.ts'
import type { Watch } from '../watch.ts'
import { type ActionContext, type ActionSql, type LineLog, readScheduled, type ScheduledPayload } from '../workflow/action.ts'
import type { Implementation } from '../workflow/app.ts'
import { digestOf } from '../workflow/content.ts'
import { readParameters, resultText } from '../workflow/contract.ts'
import { attemptFailure } from '../workflow/failures.ts'
import type { ActionMemory, ActionStore, Begun, KeptResult } from './attempt-port.ts'
import { createSecrets, type Secrets } from './secrets.ts'

export type AttemptOptions = {
  worker: string
  implementations: ReadonlyMap<string, Implementation>
  memory: ActionMemory
  store: ActionStore
  append: (request: ActionRequest, outcome: AttemptOutcome, duration: number) => Promise<unknown>
  secrets: (name: string) => string | undefined
  logger: LineLog
  watch: Watch
  faults: Faults
  /** The broker's time, ms. */
  now: () => number
}

/** `reported`: an outcome is in the log. `skipped`: nothing was to do. `again`: no outcome, the request stays. */
export type Ended = { state: 'reported' | 'skipped' } | { state: 'again'; because: 'busy' | 'not-implemented' | 'claimed' | 'stopping' }

type Attempt = {
  request: ActionRequest
  scheduled: ScheduledPayload
  run: Implementation
  /** Progress that was told before, JSON text. */
  kept: string | undefined
  secrets: Secrets
  stop: AbortSignal
}

/** A request older than this is run only after a look whether it is still wanted, ms. */
const OLD = 10_000
/** How long a claim lasts without being renewed, ms. */
const CLAIM = 15_000

class TimedOut extends Error {
  override readonly name = 'TimedOut'
}

/** Thrown where an attempt is given up because its worker stops. */
class Stopping extends Error {
  override readonly name = 'Stopping'
}

export function createAttempts(options: AttemptOptions) {
  const { memory, store, watch, faults, logger } = options

  /** A6 */
  async function orWithout<T>(doing: () => Promise<T>, without: T): Promise<T> {
    try {
      return await doing()
    } catch (error) {
      watch.emit('worker:memory:away', { error: asError(error).message })
      return without
    }
  }

  async function report(request: ActionRequest, outcome: AttemptOutcome, began: number): Promise<Ended> {
    await faults.at('worker:outcome:appending')
    await options.append(request, outcome, Math.round(performance.now() - began))
    await faults.at('worker:outcome:appended')
    return { state: 'reported' }
  }

  /** The author's function with its context, its time limit and its heartbeat. Gives the result as JSON text. */
  async function invoke({ request, scheduled, run, kept, secrets, stop }: Attempt, sql?: ActionSql): Promise<string> {
    // While it waited for its turn: nothing is begun that would be given up at once.
    if (stop.aborted) throw new Stopping('the worker stops')
    const parameters = readParameters(run.action, scheduled)
    const given = giveUp(stop)
    const { signal } = given
    const limits = timeLimits(scheduled, (reason) => given.up(new TimedOut(reason)))
    const teller = progressTeller((progress) => store.tellProgress(request, progress))
    const context: ActionContext = {
      tenant: request.tenant,
      executionId: request.execution_id,
      actionId: request.action_id,
      action: request.action,
      attempt: request.attempt,
      parameters,
      idempotencyKey: request.key,
      userId: request.user_id,
      signal,
      logger: lines(logger, request),
      heartbeat(progress) {
        limits.beat()
        teller.tell(secrets.textOf(progress))
      },
      progress: kept === undefined ? undefined : (JSON.parse(kept) as unknown),
      secret: secrets.read,
      ...(sql ? { sql } : {}),
    }
    try {
      const result = await Promise.race([run.run(context), given.rejection])
      return resultText(run.action, result)
    } catch (error) {
      if (stop.aborted && !(error instanceof TimedOut)) throw new Stopping('the worker stops', { cause: error })
      throw error
    } finally {
      limits.end()
      given.end()
      await teller.end()
    }
  }

  /** Runs the function; its failure is an outcome, a worker that stops is none. */
  async function tried({ secrets }: Attempt, work: () => Promise<string>): Promise<AttemptOutcome | 'stopping'> {
    try {
      return { result: await work() }
    } catch (error) {
      if (error instanceof Stopping) return 'stopping'
      return { error: attemptFailure(error, secrets.failureOf(error)) }
    }
  }

  async function atLeastOnce(one: Attempt): Promise<AttemptOutcome | 'stopping'> {
    const { request, scheduled } = one
    const outcome = await tried(one, () => invoke(one))
    await faults.at('worker:attempt:done')
    if (outcome === 'stopping' || 'error' in outcome) return outcome
    // A2
    const kept = { result: outcome.result, parameters: parametersDigest(scheduled) }
    const keeping = orWithout(() => memory.keep(request, kept), kept)
    if (request.key === request.action_id) {
      await faults.at('worker:outcome:kept')
      return outcome
    }
    const held = await keeping
    await faults.at('worker:outcome:kept')
    return { result: held.result }
  }

  /** A3 */
  async function atMostOnce(one: Attempt): Promise<AttemptOutcome | 'claimed' | 'stopping'> {
    const { request } = one
    const claim = await store.claim(request, CLAIM)
    await faults.at('worker:attempt:claimed')
    if (claim === 'held') return 'claimed'
    if (claim === 'expired') {
      const message = 'the worker that ran it vanished; whether it had its effect is not known'
      return store.putOutcome(request, { error: { name: 'OutcomeUnknown', code: 'unknown', message, retryable: false } })
    }
    const renewing = setInterval(() => void orWithout(() => store.renew(request, CLAIM), undefined), CLAIM / 3)
    try {
      const outcome = await tried(one, () => invoke(one))
      await faults.at('worker:attempt:done')
      // Given up in the middle: the claim stands and expires, since the effect may have happened.
      if (outcome === 'stopping') return 'stopping'
      const stored = await store.putOutcome(request, outcome)
      await faults.at('worker:outcome:kept')
      return stored
    } finally {
      clearInterval(renewing)
    }
  }

  /** A4 */
  async function exactlyOnce(one: Attempt): Promise<AttemptOutcome | 'stopping'> {
    const { request, run, scheduled } = one
    const limits = { isolation: run.action.isolation, timeout: scheduled.timeout_ms }
    let stored: AttemptOutcome | undefined
    const outcome = await tried(one, async () => {
      stored = await store.inTransaction(request, limits, async (sql) => {
        const result = await invoke(one, sql)
        await faults.at('worker:attempt:done')
        return result
      })
      return ''
    })
    await faults.at('worker:outcome:kept')
    if (outcome === 'stopping') return 'stopping'
    return stored ?? store.putOutcome(request, outcome)
  }

  async function runOnce(
    request: ActionRequest,
    scheduled: ScheduledPayload,
    run: Implementation,
    stop: AbortSignal,
    began: number,
    inherited: boolean,
  ): Promise<Ended> {
    if ((inherited || isOld(request)) && !(await store.isOpen(request))) return skipped(request, watch)
    if (scheduled.guarantee !== 'at-least-once') {
      const stored = await store.outcome(request)
      if (stored) return report(request, stored, began)
    }
    await faults.at('worker:attempt:starting')
    // Postgres away is no failure of the attempt.
    const kept = scheduled.heartbeat_ms === undefined && request.attempt === 1 ? undefined : await store.progress(request)
    const outcome = await byGuarantee({ request, scheduled, run, kept, secrets: createSecrets(options.secrets), stop })
    if (outcome === 'stopping' || outcome === 'claimed') return { state: 'again', because: outcome }
    const ended = await report(request, outcome, began)
    watch.emit('worker:attempt:ended', {
      name: request.name,
      outcome: 'result' in outcome ? 'completed' : 'failed',
      ms: performance.now() - began,
    })
    return ended
  }

  function byGuarantee(one: Attempt) {
    switch (one.scheduled.guarantee) {
      case 'at-least-once':
        return atLeastOnce(one)
      case 'at-most-once':
        return atMostOnce(one)
      case 'exactly-once':
        return exactlyOnce(one)
      default:
        return one.scheduled.guarantee satisfies never
    }
  }

  function fromCache(request: ActionRequest, scheduled: ScheduledPayload, kept: KeptResult, began: number): Promise<Ended> {
    watch.emit('worker:attempt:ended', { name: request.name, outcome: 'cached', ms: performance.now() - began })
    if (kept.parameters === parametersDigest(scheduled)) return report(request, { result: kept.result }, began)
    const message = `key ${request.key} was used for ${request.name} with other parameters`
    return report(request, { error: { name: 'KeyReused', code: 'key-reused', message, retryable: false } }, began)
  }

  const isOld = (request: ActionRequest) => options.now() - request.requested_at > OLD

  /**
   * One request, until it has an outcome or is given back. Rejects when the log or the database is away: try again.
   * `inherited`: somebody else may have run it, and died before Redis heard of it.
   */
  return async function attempt(request: ActionRequest, stop: AbortSignal, inherited = false): Promise<Ended> {
    const began = performance.now()
    const scheduled = readScheduled(request.scheduled)
    const implementation = options.implementations.get(request.name)
    if (!implementation)
      return isOld(request) && !(await store.isOpen(request)) ? skipped(request, watch) : { state: 'again', because: 'not-implemented' }
    const begun = await orWithout<Begun>(() => memory.begin(request), { state: 'ours' })
    if (begun.state === 'done') return skipped(request, watch)
    if (begun.state === 'busy') {
      watch.emit('worker:lock:busy', { name: request.name })
      return { state: 'again', because: 'busy' }
    }
    if (begun.state === 'kept') {
      if (inherited && !(await store.isOpen(request))) return skipped(request, watch)
      const reported = await fromCache(request, scheduled, begun.kept, began)
      void orWithout(() => memory.end(request, true), undefined)
      return reported
    }
    watch.emit('worker:lock:taken', { name: request.name })
    let isReported = false
    try {
      const ended = await runOnce(request, scheduled, implementation, stop, began, inherited)
      isReported = ended.state === 'reported'
      return ended
    } finally {
      // Not waited for: whoever wants the key next waits for it in Redis.
      void orWithout(() => memory.end(request, isReported), undefined)
    }
  }
}

function skipped({ name }: ActionRequest, watch: Watch): Ended {
  watch.emit('worker:attempt:ended', { name, outcome: 'skipped', ms: 0 })
  return { state: 'skipped' }
}

const parametersDigest = ({ parameters }: ScheduledPayload) => digestOf([JSON.stringify(parameters)])

/** One attempt's signal: aborted by `up`, or with the worker's. Costs a quarter of AbortSignal.any and a race on its event. */
function giveUp(stop: AbortSignal) {
  const controller = new AbortController()
  const { promise: rejection, reject } = Promise.withResolvers<never>()
  rejection.catch(() => undefined)
  const up = (reason: Error) => {
    controller.abort(reason)
    reject(reason)
  }
  const stopped = () => up(new Stopping('the worker stops'))
  if (stop.aborted) stopped()
  else stop.addEventListener('abort', stopped, { once: true })
  return { signal: controller.signal, rejection, up, end: () => stop.removeEventListener('abort', stopped) }
}

function timeLimits({ timeout_ms: timeout, heartbeat_ms: heartbeat }: ScheduledPayload, expired: (reason: string) => void) {
  const whole = setTimeout(() => expired(`no outcome within ${timeout} ms`), timeout)
  const alive = heartbeat === undefined ? undefined : setTimeout(() => expired(`no heartbeat within ${heartbeat} ms`), heartbeat)
  return {
    beat: () => void alive?.refresh(),
    end() {
      clearTimeout(whole)
      clearTimeout(alive)
    },
  }
}

const TELL_EVERY = 1000

/** At most one write a second; the newest is told within one, whether or not more comes, and in the end. */
function progressTeller(put: (progress: string | undefined) => Promise<void>) {
  let newest: { progress: string | undefined } | undefined
  let telling: Promise<void> = Promise.resolve()
  let last = -Infinity
  let timer: NodeJS.Timeout | undefined
  let ended = false
  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    if (!newest) return
    const { progress } = newest
    newest = undefined
    last = performance.now()
    // Progress is a help for the next attempt: an attempt does not fail for it.
    telling = telling.then(() => put(progress)).catch(() => undefined)
  }
  return {
    tell(progress: string | undefined) {
      // What a function that was given up tells is no help for whoever runs it again by now.
      if (ended) return
      // A bare sign of life takes nothing back.
      newest = { progress: progress ?? newest?.progress }
      const rest = last + TELL_EVERY - performance.now()
      if (rest <= 0) flush()
      else timer ??= setTimeout(flush, rest)
    },
    end() {
      ended = true
      flush()
      return telling
    },
  }
}

function lines(logger: LineLog, { tenant, execution_id: executionId, name: action, attempt }: ActionRequest): LineLog {
  const line = (level: keyof LineLog) => (facts: object, message: string) =>
    logger[level]({ ...facts, tenant, executionId, action, attempt }, message)
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}
