// For authors' tests: a workflow run to its end in memory, with a clock that jumps from timer to timer, fake actions and
// events sent at their time. The log here is a list; accept, replay and fold are the real ones.

import { accept, BLANK_HEAD, type Head } from '../workflow/accept.ts'
import { classify } from '../workflow/events.ts'
import { applyEvent, type ExecutionState, initial, isComplete } from '../workflow/execution.ts'
import { executionIdOf, eventIdOf, firedIdOf, startIdOf } from '../workflow/ids.ts'
import { attemptOutcome, type Fakes } from './fakes.ts'
import { createReplay, type Divergence, type Fed, type Replay } from '../workflow/replay.ts'
import { type Duration, milliseconds } from '../workflow/duration.ts'
import type { Actions, Workflow } from '../workflow/workflow.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'

/** An event from outside; `after` is the time since the start at which it is sent, as `'3 days'` (default 0: right after the start). */
export type SentEvent = { name: string; payload?: unknown; after?: Duration }

export type RunOptions<A extends Actions = Actions> = {
  input?: unknown
  /** By the action's name; a throw is a failed attempt. One that is missing fails for good. */
  actions?: Fakes<A>
  events?: readonly SentEvent[]
  /** Names the execution (default `test`). */
  key?: string
  /** Milliseconds since 1970 UTC at the start. */
  startAt?: number
  /** Throws the replay away after each accepted event and makes it anew from the history: a crash at every record. */
  crashAfterEachRecord?: boolean
  /** Each record is appended this many times, as by several runtimes (default 1). */
  copies?: number
  /** Most accepted events (default 100,000): a workflow that has no end is stopped with an error. */
  most?: number
}

export type WorkflowRun = {
  state: ExecutionState
  /** Accepted events, in seq order. */
  history: readonly Fed[]
  divergence: Divergence | undefined
  /** Every attempt that was made, by action name. */
  attempts: ReadonlyMap<string, number>
  /** Records that were not accepted. */
  refused: number
}

const TENANT = 'test'
const YEAR_2026 = Date.UTC(2026, 0, 1)

class Run {
  readonly workflow: Workflow
  readonly options: RunOptions
  readonly executionId: string
  readonly history: Fed[] = []
  readonly attempts = new Map<string, number>()
  readonly #contents = new Map<string, string>()
  readonly #begun = new Set<string>()
  #head: Head = BLANK_HEAD
  state: ExecutionState
  replay: Replay
  now: number
  refused = 0

  constructor(workflow: Workflow, options: RunOptions) {
    this.workflow = workflow
    this.options = options
    this.executionId = executionIdOf(TENANT, workflow.name, options.key ?? 'test')
    this.state = initial(TENANT, this.executionId)
    this.replay = this.#newReplay()
    this.now = options.startAt ?? YEAR_2026
  }

  #newReplay = () => createReplay({ workflow: this.workflow, tenant: TENANT, executionId: this.executionId })

  input(name: string, id: string, payload: unknown): WorkflowEvent {
    return {
      event_id: id,
      tenant: TENANT,
      execution_id: this.executionId,
      event_name: name,
      event_type: 'workflow',
      from_state: '',
      to_state: '',
      user_id: null,
      payload: payload === undefined ? null : JSON.stringify(payload),
      created_at: this.now,
      causation_id: null,
      correlation_id: null,
      workflow_name: null,
      business_key: null,
      decision: 0,
      decision_chain: '',
      decision_seq: 0,
      decision_input: '',
    }
  }

  /** Appends a record, `copies` times; what is accepted is fed. */
  async append(event: WorkflowEvent): Promise<void> {
    for (let copy = 0; copy < (this.options.copies ?? 1); copy++) await this.#take(event)
  }

  async #take(event: WorkflowEvent): Promise<void> {
    const classified = classify(event)
    if ('fault' in classified) throw new Error(`${event.event_name}: ${classified.fault.detail}`)
    const verdict = accept(classified, this.#head, this.#contents.get(event.event_id), this.now)
    if (verdict.verdict !== 'accepted') {
      this.refused++
      return
    }
    this.#head = verdict.head
    this.#contents.set(event.event_id, classified.content)
    const fed = { event, seq: verdict.seq, appendedAt: this.now }
    this.state = applyEvent(this.state, fed)
    this.history.push(fed)
    if (!this.options.crashAfterEachRecord) return this.replay.feed(fed)
    this.replay.dispose()
    this.replay = this.#newReplay()
    for (const past of this.history) await this.replay.feed(past)
  }

  /** Appends the decisions that the log lacks; answers whether there were any. */
  async appendDecisions(): Promise<boolean> {
    const [next] = this.replay.decisions.slice(this.replay.readBack)
    if (!next) return false
    await this.append(next)
    return true
  }

  /** Runs one attempt that was asked for and not begun; answers whether there was one. */
  async runAction(): Promise<boolean> {
    const open = [...this.replay.openActions.values()].find(
      ({ action, attempt, state }) => state === 'requested' && !this.#begun.has(`${action}/${attempt}`),
    )
    if (!open) return false
    this.#begun.add(`${open.action}/${open.attempt}`)
    this.attempts.set(open.name, (this.attempts.get(open.name) ?? 0) + 1)
    const of = { tenant: TENANT, executionId: this.executionId, input: this.input.bind(this) }
    await this.append(await attemptOutcome(this.workflow, this.options.actions, open, of))
    return true
  }

  nextTimer(): { timer: number; at: number } | undefined {
    let first: { timer: number; at: number } | undefined
    for (const [timer, at] of this.replay.openTimers) if (!first || at < first.at) first = { timer, at }
    return first
  }
}

/** Runs a workflow until it has ended, diverged, or nothing more can happen. */
export async function runWorkflow<A extends Actions>(workflow: Workflow<A>, options: NoInfer<RunOptions<A>> = {}): Promise<WorkflowRun> {
  const run = new Run(workflow, options)
  const begun = run.now
  const events = (options.events ?? [])
    .map((event, i) => ({ ...event, at: begun + milliseconds(event.after ?? 0), i }))
    .toSorted((a, b) => a.at - b.at)
  const { name: workflow_name, version: workflow_version } = workflow
  const started = { workflow_name, workflow_version, key: options.key ?? 'test', input: options.input ?? null }
  await run.append(run.input('workflow.started', startIdOf(TENANT, run.executionId), started))
  const sendDue = async (): Promise<boolean> => {
    if (!events[0] || events[0].at > run.now) return false
    const event = events.shift()
    if (event) await run.append(run.input(event.name, eventIdOf(TENANT, run.executionId, 'sent', event.i), event.payload))
    return true
  }
  while (!isComplete(run.state) && run.replay.status !== 'diverged') {
    if (run.history.length > (options.most ?? 100_000)) throw new Error(`${workflow.name} had no end after ${run.history.length} events`)
    if ((await run.appendDecisions()) || (await sendDue()) || (await run.runAction())) continue
    const timer = run.nextTimer()
    const at = Math.min(timer?.at ?? Infinity, events[0]?.at ?? Infinity)
    if (at === Infinity) break
    run.now = Math.max(run.now, at)
    if (timer && timer.at <= run.now && (events[0]?.at ?? Infinity) > run.now)
      await run.append(run.input('timer.fired', firedIdOf(TENANT, run.executionId, timer.timer), { timer_id: timer.timer }))
  }
  const { state, history, attempts, refused } = run
  return { state, history, divergence: run.replay.divergence, attempts, refused }
}
