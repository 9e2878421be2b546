// accepted events → [replay] → decisions → log
//
// A workflow function, run on the accepted events of one execution. Owns: which input is fed when, which decisions the
// calls of the function have become, what is open. Doesn't own: the log, the clock, effects (consumers/runtime.ts).
//
// P1  Inputs are fed one at a time in log order; after each, microtasks drain; each call made becomes the next decision.
// P2  Outside the drain no context call is legal: the function awaited something foreign, and the execution diverges.
// P3  Decisions read back are compared with those computed, by content.
// P4  Time is the newest append time fed; random numbers and ids come from the execution and a counter.
// P5  What an action may take (retry policy, parameters) is read from its accepted record, never from today's code.
// P6  The end of the function is the last decision: what its branches still call, and what comes before it is read back,
//     decides nothing more. (An outcome of a lost race decided once, and the execution was taken for one that waits for ever.)
// P7  An outcome may be fed before it is in the log. What was decided on it holds if it is then read back as the next event, and
//     if nobody asked what time it is: that is known only by then (decision 0015). What was logged on it is told by then.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { readScheduled } from './action.ts'
import { AuthorLines } from './author-lines.ts'
import { chainAfter, contentOf } from './content.ts'
import { createContext, type PendingWait } from './context.ts'
import { drain } from './drain.ts'
import { classifyMade, payloadObject } from './events.ts'
import { ActionFailed, type Failure, failureOf, readFailure, WorkflowCancelled } from './failures.ts'
import { decisionIdOf } from './ids.ts'
import { parsePlain } from './json.ts'
import { checkEvent } from './limits.ts'
import { isDecision, isReservedName } from './names.ts'
import type { Workflow } from './workflow.ts'
import type { LineLog } from './action.ts'
import type { Divergence, Fed, OpenAction, ReplayOptions } from './replay.ts'

/** What a waiting call is told. */
export type Settle = { resolve(value: unknown): void; reject(error: unknown): void }

type PendingAction = Settle & { open?: OpenAction; name: string; attempt: number; timer?: number }
type PendingTimer = Settle & { fireAt: number }

const json = (value: unknown): string => JSON.stringify(value)
const iso = (ms: number) => new Date(ms).toISOString()

export class Execution {
  readonly workflow: Workflow
  readonly tenant: string
  readonly executionId: string
  readonly logger: LineLog
  readonly #lines: AuthorLines
  readonly #requested: (n: number) => void
  readonly decisions: WorkflowEvent[] = []
  readonly cancel = new AbortController()
  readonly actions = new Map<number, PendingAction>()
  readonly timers = new Map<number, PendingTimer>()
  readonly waits = new Map<number, PendingWait>()
  /** Events that came and that no wait took yet. */
  readonly received: WorkflowEvent[] = []
  status: 'running' | 'ended' | 'diverged' = 'running'
  divergence: Divergence | undefined
  readBack = 0
  #now = 0
  /** P7. Time as it was before an outcome that is not read back yet; whether it was asked for since. */
  #ahead: { now: number; isTimeAsked: boolean } | undefined
  started: WorkflowEvent | undefined
  #chain = ''
  #contents: string[] = []
  #open = false
  #paused = false
  /** P6. */
  #done = false
  #held: Fed[] = []
  #cause: WorkflowEvent | undefined

  constructor(options: ReplayOptions) {
    const { workflow, tenant, executionId, requested = () => undefined } = options
    this.workflow = workflow
    this.#requested = requested
    this.tenant = tenant
    this.executionId = executionId
    this.#lines = new AuthorLines(options)
    this.logger = this.#lines.logger
  }

  /** P4, ms since 1970 UTC. */
  get now(): number {
    if (this.#ahead) this.#ahead.isTimeAsked = true
    return this.#now
  }

  /** P2. Whether a call counts now; a foreign one stops the execution. */
  allows(call: string): boolean {
    if (this.status !== 'running' || this.#done) return false
    if (this.#open) return true
    this.#diverge(
      'nothing: no event was being fed',
      call,
      `${call} was called after the function awaited something that is not of its context`,
    )
    return false
  }

  /** Makes the next decision; throws RangeError where it breaks a limit of the format, with nothing decided. */
  decide(name: string, payload: unknown, states: { from?: string; to?: string; type?: string } = {}): number {
    const n = this.decisions.length + 1
    const event: WorkflowEvent = {
      event_id: decisionIdOf(this.tenant, this.executionId, n),
      tenant: this.tenant,
      execution_id: this.executionId,
      event_name: name,
      event_type: states.type ?? 'workflow',
      from_state: states.from ?? '',
      to_state: states.to ?? '',
      user_id: null,
      payload: payload === undefined ? null : json(payload),
      created_at: this.#now,
      causation_id: this.#cause?.event_id ?? null,
      correlation_id: this.started?.correlation_id ?? null,
      workflow_name: null,
      business_key: null,
      decision: n,
      decision_chain: this.#chain,
      decision_seq: 0,
      decision_input: '',
    }
    const fault = checkEvent(event)
    if (fault) throw new RangeError(`${name} breaks a limit: ${fault.detail}`)
    const { content } = classifyMade(event)
    this.#chain = chainAfter(event, content)
    this.#contents.push(content)
    this.decisions.push(event)
    return n
  }

  startTimer(fireAt: number, purpose: 'sleep' | 'timeout' | 'retry', settle: Settle, action?: number): number {
    const n = this.decide('timer.started', { fire_at: iso(fireAt), purpose, ...(action === undefined ? {} : { action }) })
    this.timers.set(n, { fireAt, ...settle })
    return n
  }

  cancelTimer(timer: number): void {
    if (this.timers.delete(timer)) this.decide('timer.cancelled', { timer_id: timer })
  }

  /** The oldest event received under one of these names; it is taken. */
  take(names: readonly string[]): WorkflowEvent | undefined {
    const at = this.received.findIndex(({ event_name: name }) => names.includes(name))
    return at < 0 ? undefined : this.received.splice(at, 1)[0]
  }

  async feed(fed: Fed): Promise<void> {
    if (this.status !== 'running') return
    if (fed.event.decision > 0) {
      this.#compare(fed.event, fed.content ?? contentOf(fed.event))
      if (this.status !== 'running' || isReservedName(fed.event.event_name)) return
    }
    await this.#input(fed)
  }

  /** It waits for the outcome of this attempt and, as far as the log was read, for nothing else. */
  awaitsOnly(action: number, attempt: number): boolean {
    if (this.status !== 'running' || this.#done || this.#paused || this.#ahead || this.readBack < this.decisions.length) return false
    if (this.actions.size !== 1 || this.timers.size > 0 || this.waits.size > 0) return false
    const open = this.actions.get(action)?.open
    return open?.state === 'requested' && open.attempt === attempt
  }

  /** P7. Feeds what `awaitsOnly` waits for; whether what was decided on it can be appended. `about`: the time it is, nearly. */
  async foresee(event: WorkflowEvent, about: number): Promise<boolean> {
    const ahead = { now: this.#now, isTimeAsked: false }
    this.#ahead = ahead
    this.#lines.hold()
    await this.#turn({ event, appendedAt: about })
    return this.status === 'running' && !ahead.isTimeAsked
  }

  /** P7. What was foreseen was read back. */
  foreseen(appendedAt: number): void {
    this.#now = Math.max(this.#ahead?.now ?? this.#now, appendedAt)
    this.#ahead = undefined
    this.#lines.release()
  }

  // P3
  #compare(event: WorkflowEvent, content: string): void {
    const n = event.decision
    const computed = this.decisions[n - 1]
    if (!computed) return this.#diverge(event.event_name, 'nothing more', 'the history has a decision that this code does not make', n)
    if (content !== this.#contents[n - 1])
      return this.#diverge(described(event), described(computed), 'this code decides otherwise than the history', n)
    this.readBack = n
    const action = this.actions.get(n)
    if (event.event_name === 'action.scheduled' && action) {
      action.open = {
        action: n,
        actionId: event.event_id,
        name: action.name,
        attempt: 1,
        scheduled: event.payload ?? '{}',
        state: 'requested',
      }
      this.#requested(n)
    }
    if (event.event_name === 'action.retried') this.#retriedRead(event)
    if (isDecision(event.event_name) && ENDING.has(event.event_name)) this.status = 'ended'
  }

  #retriedRead(event: WorkflowEvent): void {
    const payload = payloadObject(event)
    const open = this.actions.get(Number(payload?.['action']))?.open
    if (!open) return
    Object.assign(open, { attempt: Number(payload?.['attempt']), state: 'requested' } satisfies Partial<OpenAction>)
    this.#requested(open.action)
  }

  async #input(fed: Fed): Promise<void> {
    const { event_name: name } = fed.event
    if (name === 'workflow.terminateRequested') {
      this.status = 'ended'
      return
    }
    if (this.#done) return
    if (name === 'workflow.pauseRequested') {
      this.#paused = this.started !== undefined
      return
    }
    const resumes = name === 'workflow.resumeRequested' || name === 'workflow.cancelRequested'
    if (this.#paused && !resumes) {
      this.#held.push(fed)
      return
    }
    if (resumes && this.#paused) {
      this.#paused = false
      for (const held of this.#held.splice(0)) await this.#turn(held)
    }
    await this.#turn(fed)
  }

  // P1
  async #turn({ event, appendedAt }: Pick<Fed, 'event' | 'appendedAt'>): Promise<void> {
    if (this.status !== 'running' || this.#done) return
    this.#now = Math.max(this.#now, appendedAt)
    this.#cause = event
    this.#open = true
    this.#apply(event)
    await drain(() => (this.#open = false))
    if (this.started && !this.#done && this.actions.size + this.timers.size + this.waits.size === 0)
      this.#diverge('a call of its context', 'nothing', 'the function awaits something that is not of its context, or waits for ever')
  }

  #apply(event: WorkflowEvent): void {
    switch (event.event_name) {
      case 'workflow.started':
        this.started = event
        return this.#start()
      case 'action.completed':
        return this.#completed(event)
      case 'action.attemptFailed':
        return this.#attemptFailed(event)
      case 'timer.fired':
        return this.#fired(Number(payloadObject(event)?.['timer_id']))
      case 'workflow.cancelRequested':
        return this.#cancelled(payloadObject(event)?.['reason'])
      case 'workflow.retryRequested':
        return this.#retryNow(payloadObject(event)?.['action'])
      case 'workflow.resumeRequested':
        return
      default:
        this.received.push(event)
        this.#satisfy()
    }
  }

  #start(): void {
    const { input: schema, run } = this.workflow
    const given: unknown = parsePlain(this.started?.payload ?? '{}')
    const raw = (given as { input?: unknown }).input
    const parsed = schema ? schema.safeParse(raw) : { success: true as const, data: raw }
    if (!parsed.success)
      return this.#end(undefined, {
        name: 'InputInvalid',
        message: parsed.error.issues.map(({ message, path }) => `${path.join('.')}: ${message}`).join('; '),
      })
    const context = createContext(this, parsed.data)
    // A call that throws at once is a rejection like one that throws later.
    void (async () => run(context))().then(
      (result) => this.#end(result),
      (error: unknown) => (error instanceof WorkflowCancelled ? this.#endCancelled(error) : this.#end(undefined, failureOf(error))),
    )
  }

  #end(result: unknown, error?: Failure): void {
    if (!this.allows('the end of the function')) return
    try {
      if (error) this.decide('workflow.failed', { error })
      else this.decide('workflow.completed', { result: result ?? null })
    } catch (fault) {
      this.decide('workflow.failed', { error: failureOf(fault) })
    }
    this.#done = true
  }

  #endCancelled(error: WorkflowCancelled): void {
    if (!this.allows('the end of the function')) return
    this.decide('workflow.cancelled', { error: failureOf(error) })
    this.#done = true
  }

  #completed(event: WorkflowEvent): void {
    const payload = payloadObject(event)
    const n = Number(payload?.['action'])
    const action = this.actions.get(n)
    if (!action || payload?.['attempt'] !== action.attempt) return
    this.actions.delete(n)
    action.resolve((parsePlain(event.payload ?? '{}') as { result?: unknown }).result ?? null)
  }

  // P5
  #attemptFailed(event: WorkflowEvent): void {
    const payload = payloadObject(event)
    const n = Number(payload?.['action'])
    const action = this.actions.get(n)
    if (!action?.open || payload?.['attempt'] !== action.attempt) return
    const error = readFailure(payload?.['error'])
    const { retry } = readScheduled(action.open.scheduled)
    if (error.retryable === false || action.attempt >= retry.attempts) {
      this.actions.delete(n)
      this.decide('action.failed', { action: n, name: action.name, error })
      return action.reject(new ActionFailed(action.name, error, action.attempt))
    }
    const wait = Math.min(retry.max_ms, Math.round(retry.backoff_ms * retry.factor ** (action.attempt - 1)))
    if (wait === 0) return this.#retry(n, action)
    action.open.state = 'backing-off'
    action.timer = this.startTimer(this.now + wait, 'retry', { resolve: () => this.#retry(n, action), reject: () => undefined }, n)
  }

  #retry(n: number, action: PendingAction): void {
    delete action.timer
    action.attempt += 1
    this.decide('action.retried', { action: n, attempt: action.attempt, name: action.name })
  }

  #retryNow(which: unknown): void {
    for (const [n, action] of this.actions) {
      if (action.timer === undefined || (which !== undefined && which !== null && which !== n)) continue
      this.cancelTimer(action.timer)
      this.#retry(n, action)
    }
  }

  #fired(timer: number): void {
    const pending = this.timers.get(timer)
    this.timers.delete(timer)
    pending?.resolve(undefined)
  }

  /** Hands received events to the waits, the oldest wait first. */
  #satisfy(): void {
    for (const [n, wait] of this.waits) {
      const event = this.take(wait.names)
      if (event) wait.satisfy(n, event)
    }
  }

  #cancelled(reason: unknown): void {
    if (!this.started || this.cancel.signal.aborted) return
    const error = new WorkflowCancelled(typeof reason === 'string' && reason !== '' ? `cancelled: ${reason}` : 'cancelled')
    const waiting: Settle[] = []
    for (const [n, action] of this.actions) {
      this.decide('action.cancelled', { action: n, name: action.name })
      waiting.push(action)
    }
    for (const [n, timer] of this.timers) {
      this.decide('timer.cancelled', { timer_id: n })
      waiting.push(timer)
    }
    waiting.push(...this.waits.values())
    this.actions.clear()
    this.timers.clear()
    this.waits.clear()
    this.cancel.abort(error)
    for (const { reject } of waiting) reject(error)
  }

  #diverge(expected: string, got: string, reason: string, step = this.decisions.length + 1): void {
    if (this.status !== 'running') return
    this.status = 'diverged'
    this.divergence = { step, expected, got, reason }
  }
}

const ENDING: ReadonlySet<string> = new Set(['workflow.completed', 'workflow.failed', 'workflow.cancelled'])

/** Characters of a payload that an incident shows. */
const SHOWN = 300

const described = ({ event_name: name, payload, to_state: to }: WorkflowEvent) =>
  `${name}${to === '' ? '' : ` to ${to}`}${payload === null ? '' : ` ${payload.slice(0, SHOWN)}`}`
