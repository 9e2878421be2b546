// Two runtimes and a worker on one log in memory, in an order that a seed chooses: reads that lag behind, records that come
// twice, memories that are lost after any record, a worker that dies between its steps. Accept, replay and fold are the real
// ones; the rules of who appends and dispatches when are those of consumers/runtime.ts and consumers/action-worker.ts.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head, type Judged } from '../workflow/accept.ts'
import { type Classified, classify, payloadObject, madeAhead } from '../workflow/events.ts'
import { applyEvent, type ExecutionState, initial, isComplete } from '../workflow/execution.ts'
import { contentOf } from '../workflow/content.ts'
import { milliseconds } from '../workflow/duration.ts'
import { eventIdOf, executionIdOf, firedIdOf, startIdOf } from '../workflow/ids.ts'
import { createReplay, type Divergence, type Fed, type OpenAction, type Replay } from '../workflow/replay.ts'
import type { Workflow } from '../workflow/workflow.ts'
import { attemptOutcome, type Fakes } from './fakes.ts'
import type { SentEvent } from './run-workflow.ts'

/** Rules that a check of this check takes out, each of which must make it fail. */
export type Mutant = 'effects-before-read-back' | 'no-chain' | 'no-condition' | 'offset-before-outcome'

export type TwoRuntimesOptions = {
  /** Code of the second runtime; the same as the first unless given. */
  second?: Workflow
  input?: unknown
  actions?: Fakes
  /** One with `after` comes at its time, between timers; one without at any. */
  events?: readonly SentEvent[]
  /** Names the execution (default `test`), as of runWorkflow: its id decides what uuid() and random() give. */
  key?: string
  /** Milliseconds since 1970 UTC at the start. */
  startAt?: number
  seed: number
  mutant?: Mutant
}

export type TwoRuntimesRun = {
  state: ExecutionState
  history: readonly Fed[]
  divergences: readonly Divergence[]
  /** What may never be: an effect nobody asked for in the log, an execution that stands still. */
  faults: readonly string[]
}

const TENANT = 'test'
const MOST_STEPS = 200_000

/** mulberry32 */
function randomOf(seed: number): (n: number) => number {
  let a = seed >>> 0
  return (n) => {
    a = (a + 0x6d2b79f5) | 0
    let x = Math.imul(a ^ (a >>> 15), 1 | a)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * n)
  }
}

class Runtime {
  readonly #workflow: Workflow
  readonly #executionId: string
  replay: Replay
  /** Records of the log read so far. */
  read = 0
  sent = 0
  readonly requested = new Set<string>()
  /** An outcome that was fed before the log had it, and the number it must get. */
  #ahead: { event: WorkflowEvent; seq: number; fits: boolean } | undefined

  constructor(workflow: Workflow, executionId: string) {
    this.#workflow = workflow
    this.#executionId = executionId
    this.replay = this.#fresh()
  }

  #fresh = () => createReplay({ workflow: this.#workflow, tenant: TENANT, executionId: this.#executionId })

  /** Its memory is lost. */
  crash(): void {
    this.replay.dispose()
    this.replay = this.#fresh()
    this.read = 0
    this.sent = 0
    this.requested.clear()
    this.#ahead = undefined
  }

  /** What it decides on an outcome that is about to be appended, if it waits for nothing else. */
  async foresee({ action, attempt }: OpenAction, event: WorkflowEvent, now: number): Promise<WorkflowEvent[]> {
    const { replay, read } = this
    if (this.#ahead || event.event_name !== 'action.completed' || !replay.awaitsOnly(action, attempt)) return []
    const fits = await replay.foresee(event, now)
    this.#ahead = { event, seq: read + 1, fits }
    this.sent = replay.decisions.length
    return fits ? replay.decisions.slice(replay.readBack).map((decision, i) => madeAhead(decision, read + 2 + i, contentOf(event))) : []
  }

  /** Reads an accepted event; one that comes in place of what was foreseen costs it its memory. */
  async take(fed: Fed): Promise<void> {
    const ahead = this.#ahead
    if (!ahead) {
      this.read++
      return this.replay.feed(fed)
    }
    const { event, seq, appendedAt } = fed
    const isForeseen = ahead.fits && seq === ahead.seq && event.event_id === ahead.event.event_id && event.payload === ahead.event.payload
    if (!isForeseen) return this.crash()
    this.read++
    this.#ahead = undefined
    this.replay.foreseen(appendedAt)
  }

  /** The next decision to append; undefined: none. */
  next(): WorkflowEvent | undefined {
    return this.replay.status === 'running' && !this.#ahead ? this.replay.decisions[Math.max(this.sent, this.replay.readBack)] : undefined
  }

  /** Attempts to ask for. The mutant takes those it computed, without waiting for the log. */
  unrequested(early: boolean): { name: string; open: OpenAction }[] {
    const computed = early
      ? this.replay.decisions.flatMap((event): OpenAction[] =>
          event.event_name === 'action.scheduled'
            ? [
                {
                  action: event.decision,
                  actionId: event.event_id,
                  name: '',
                  attempt: 1,
                  scheduled: event.payload ?? '{}',
                  state: 'requested',
                },
              ]
            : [],
        )
      : []
    return [...this.replay.openActions.values(), ...computed]
      .filter(({ state }) => state === 'requested')
      .map((open) => ({ name: `${open.action}/${open.attempt}`, open }))
      .filter(({ name }) => !this.requested.has(name))
  }
}

class Simulation {
  readonly #workflow: Workflow
  readonly #options: TwoRuntimesOptions
  readonly #executionId: string
  readonly #below: (n: number) => number
  readonly #runtimes: readonly Runtime[]
  readonly #accepted: Fed[] = []
  readonly #contents = new Map<string, string>()
  readonly #requests: OpenAction[] = []
  readonly #events: { name: string; payload?: unknown; at: number }[]
  #sent = 0
  readonly faults: string[] = []
  #head: Head = BLANK_HEAD
  #now: number
  state: ExecutionState

  constructor(workflow: Workflow, options: TwoRuntimesOptions) {
    this.#workflow = workflow
    this.#options = options
    this.#now = options.startAt ?? Date.UTC(2026, 0, 1)
    this.#executionId = executionIdOf(TENANT, workflow.name, options.key ?? 'test')
    this.#below = randomOf(options.seed)
    this.#runtimes = [new Runtime(workflow, this.#executionId), new Runtime(options.second ?? workflow, this.#executionId)]
    this.#events = (options.events ?? [])
      .map((event) => ({ ...event, at: this.#now + milliseconds(event.after ?? 0) }))
      .toSorted((a, b) => a.at - b.at)
    this.state = initial(TENANT, this.#executionId)
    const { name: workflow_name, version: workflow_version } = workflow
    const payload = { workflow_name, workflow_version, key: options.key ?? 'test', input: options.input ?? null }
    this.#append(this.#input('workflow.started', startIdOf(TENANT, this.#executionId), payload))
  }

  #input(event_name: string, event_id: string, payload: unknown): WorkflowEvent {
    return {
      event_id,
      tenant: TENANT,
      execution_id: this.#executionId,
      event_name,
      event_type: 'workflow',
      from_state: '',
      to_state: '',
      user_id: null,
      payload: payload === undefined ? null : JSON.stringify(payload),
      created_at: this.#now,
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

  #judge(classified: Classified): Judged {
    const known = this.#contents.get(classified.event.event_id)
    if (this.#options.mutant !== 'no-chain' || classified.role.kind !== 'decision') return accept(classified, this.#head, known, this.#now)
    const event = { ...classified.event, decision_chain: this.#head.nextChain }
    return accept({ ...classified, event }, this.#head, known, this.#now)
  }

  /** Once, or twice, as an append whose answer was lost. */
  #append(event: WorkflowEvent): void {
    for (let copies = this.#below(4) === 0 ? 2 : 1; copies > 0; copies--) {
      const classified = classify(event)
      if ('fault' in classified) throw new Error(`${event.event_name}: ${classified.fault.detail}`)
      const verdict = this.#judge(classified)
      if (verdict.verdict !== 'accepted') continue
      this.#head = verdict.head
      this.#contents.set(event.event_id, classified.content)
      const fed = { event, seq: verdict.seq, appendedAt: this.#now }
      this.state = applyEvent(this.state, fed)
      this.#accepted.push(fed)
    }
  }

  async #runtimeStep(runtime: Runtime): Promise<boolean> {
    if (this.#below(40) === 0) runtime.crash()
    const behind = this.#accepted.length - runtime.read
    if (behind > 0 && this.#below(3) > 0) {
      for (let n = 1 + this.#below(behind); n > 0; n--) {
        const fed = this.#accepted[runtime.read]
        if (fed) await runtime.take(fed)
      }
      return true
    }
    const decision = runtime.next()
    if (decision && this.#below(3) > 0) {
      runtime.sent = decision.decision
      this.#append(decision)
      return true
    }
    const [request] = runtime.unrequested(this.#options.mutant === 'effects-before-read-back')
    if (request) {
      runtime.requested.add(request.name)
      // As it is now: a request that was made says the same for ever, and may come late.
      this.#requests.push({ ...request.open })
      return true
    }
    // Read to the end and still not read back: somebody else's came between.
    if (behind === 0 && runtime.sent > runtime.replay.readBack) {
      runtime.sent = runtime.replay.readBack
      return runtime.next() !== undefined
    }
    return behind > 0 || decision !== undefined
  }

  async #workerStep(): Promise<boolean> {
    // Any of them, as by many workers: outcomes come in any order.
    const open = this.#requests[this.#below(Math.max(1, this.#requests.length))]
    if (!open) return false
    const taken = () => this.#requests.splice(this.#requests.indexOf(open), 1)
    const dies = this.#below(6) === 0
    if (this.#options.mutant === 'offset-before-outcome') taken()
    const outcome = await this.#effect(open)
    if (dies && this.#below(2) === 0) return true // after the effect, before its outcome
    const beside = this.#runtimes[this.#below(4)]
    const ahead = beside ? await beside.foresee(open, outcome, this.#now) : []
    // Somebody else's record may come between.
    if (ahead.length > 0 && this.#below(6) === 0 && !this.#send()) this.#fire(true)
    this.#append(outcome)
    for (const decision of ahead) this.#append(this.#options.mutant === 'no-condition' ? madeAhead(decision, 0, '') : decision)
    if (dies) return true // after the outcome, before its offset: it is run again
    if (this.#options.mutant !== 'offset-before-outcome') taken()
    return true
  }

  async #effect(open: OpenAction): Promise<WorkflowEvent> {
    const { action, actionId } = open
    const isAsked = this.#accepted.some(({ event }) => event.event_id === actionId)
    if (!isAsked) this.faults.push(`action ${action} had an effect before the log asked for it`)
    const of = { tenant: TENANT, executionId: this.#executionId, input: this.#input.bind(this) }
    return attemptOutcome(this.#workflow, this.#options.actions, open, of)
  }

  #send(): boolean {
    const [event] = this.#events
    if (!event || event.at > this.#now) return false
    this.#events.shift()
    const id = eventIdOf(TENANT, this.#executionId, 'sent', this.#sent++)
    this.#append(this.#input(event.name, id, event.payload))
    return true
  }

  #isTimeout(timer: number): boolean {
    const started = this.#accepted.find(({ event }) => event.decision === timer)?.event
    return started === undefined || payloadObject(started)?.['purpose'] === 'timeout'
  }

  /** A runtime has read and appended everything: the log has all timers that are running. */
  #isAppended(): boolean {
    return this.#runtimes.some(
      ({ read, replay }) => replay.status === 'running' && read === this.#accepted.length && replay.readBack === replay.decisions.length,
    )
  }

  /**
   * Lets the clock jump to the next timer, or to an event whose time is before it. `early`: while other things could be done, so that
   * a sleep wins against an action; not a timer of a wait, whose event the program counts on. Nor does an event come, or a sleep end,
   * past such a timer where times decide what comes first: a wait that has timed out by then would be told of the event.
   */
  #fire(early: boolean): boolean {
    const timers = [...this.#head.openTimers].toSorted(([, a], [, b]) => a - b)
    const next = timers.find(([timer]) => !early || !this.#isTimeout(timer))
    const later = this.#events.find(({ at }) => at > this.#now)
    if (early && later && next !== timers[0]) return false
    if (later && later.at <= (next?.[1] ?? (early ? 0 : Infinity))) {
      if (early && !this.#isAppended()) return false
      this.#now = later.at
      // With those of an earlier time that were not sent yet, and all of this one: the next timer is of a later one.
      while (this.#send());
      return true
    }
    if (!next) return false
    this.#now = Math.max(this.#now, next[1])
    this.#append(this.#input('timer.fired', firedIdOf(TENANT, this.#executionId, next[0]), { timer_id: next[0] }))
    return true
  }

  async run(): Promise<TwoRuntimesRun> {
    for (let step = 0, idle = 0; !isComplete(this.state); step++) {
      if (step > MOST_STEPS) this.faults.push(`it had not ended after ${step} steps`)
      const diverged = this.#runtimes.every(({ replay }) => replay.status === 'diverged')
      if (diverged || this.faults.length > 0) break
      const [first, second] = this.#runtimes
      const which = this.#below(4)
      let moved = false
      if (which === 0 && first) moved = await this.#runtimeStep(first)
      else if (which === 1 && second) moved = await this.#runtimeStep(second)
      else if (which === 2) moved = await this.#workerStep()
      else moved = this.#below(8) === 0 ? this.#fire(true) : this.#send()
      idle = moved ? 0 : idle + 1
      if (idle <= 60) continue
      idle = 0
      if (!this.#fire(false)) this.faults.push('it stands still: nothing is left to do')
    }
    const divergences = this.#runtimes.flatMap(({ replay }) => replay.divergence ?? [])
    return { state: this.state, history: this.#accepted, divergences, faults: this.faults }
  }
}

/** Runs one execution to its end under two runtimes. */
export const runTwoRuntimes = (workflow: Workflow, options: TwoRuntimesOptions): Promise<TwoRuntimesRun> =>
  new Simulation(workflow, options).run()
