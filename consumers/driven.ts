// accepted events → [one driven execution in memory] → decisions, requests
//
// Owns: what `accept` must know of one execution, its replay, and what of it is under way: decisions appended and not read
// back, requests not acknowledged. Doesn't own: where records come from, the checkpoint (runtime.ts).
//
// D1  Nothing has an effect before the decision that asks for it was read back as accepted.
// D2  Settled = every decision computed is read back, and every request of an open attempt is acknowledged. Until then the
//     checkpoint stays at or below the record that made it unsettled.
// D3  A parked execution writes nothing and holds nobody: its incident says why.
// D4  An outcome that is about to be appended may be fed ahead. Until it is read back as the next event nothing else is appended or asked
//     for; where another event comes first, this memory is wrong and must be made anew (decision 0015).

import type { WorkflowEvent } from '../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head, type Judged } from '../workflow/accept.ts'
import type { LineLog } from '../workflow/action.ts'
import { type Classified, classify, madeAhead, payloadObject } from '../workflow/events.ts'
import { executionKey } from '../workflow/execution.ts'
import { createReplay, type Divergence, type Fed, type OpenAction, type Replay } from '../workflow/replay.ts'
import type { Workflow } from '../workflow/workflow.ts'

export type Identity = { tenant: string; executionId: string }

/** An accepted event as the audit keeps it, with its content digest. */
export type PastEvent = Fed & { content: string }

export type History = Identity & { events: readonly PastEvent[] }

/** Why an execution stands still; a person must do something. */
export type Parked =
  | { kind: 'diverged'; divergence: Divergence }
  | { kind: 'not-registered'; workflow: string; version: string }
  | { kind: 'history-full'; events: number }

/** Accepted events after which an execution is stopped, and from which on the log warns. */
export const HISTORY_LIMIT = { warn: 40_000, most: 50_000 }

export type DrivenOptions = Identity & {
  partition: number
  find: (name: string, version: string) => Workflow | undefined
  logger: LineLog
}

export class Driven {
  readonly tenant: string
  readonly executionId: string
  readonly key: string
  readonly partition: number
  head: Head = BLANK_HEAD
  replay: Replay | undefined
  started: WorkflowEvent | undefined
  parked: Parked | undefined
  /** Newest decision appended. */
  sent = 0
  /** Appends without an answer. */
  inFlight = 0
  /** Highest offset at which a decision of ours was acknowledged. */
  lastAppended = -1
  /** Requests without an acknowledgement. */
  requesting = 0
  /** Offset of the record that made it unsettled. */
  unsettledFrom: number | undefined
  readonly #find: DrivenOptions['find']
  readonly #logger: LineLog
  /** What the function wrote on events that nobody decided on yet; held until it is known that it goes on. */
  #late: (() => void)[] | undefined
  readonly #contents = new Map<string, string>()
  /** Action → attempt for which a request was made. */
  readonly #requested = new Map<number, number>()
  /** Actions whose requests may be due: of a fan-out not all are gone through for each. `all`: any. */
  #due: Set<number> | 'all' = new Set()
  #before: Fed[] = []
  #replaying = false
  #taking = false
  /** D4 */
  #foreseen: { classified: Classified; seq: number; done: Promise<boolean>; fits: boolean } | undefined

  constructor({ tenant, executionId, partition, find, logger }: DrivenOptions) {
    this.tenant = tenant
    this.executionId = executionId
    this.key = executionKey(tenant, executionId)
    this.partition = partition
    this.#find = find
    this.#logger = logger
  }

  get ended(): boolean {
    return this.head.phase === 'ended'
  }

  /** D4. An outcome was fed that was not read back. */
  get isAhead(): boolean {
    return this.#foreseen !== undefined
  }

  /** D2 */
  get settled(): boolean {
    if (this.parked || this.ended) return true
    if (this.inFlight > 0 || this.requesting > 0 || this.#foreseen) return false
    return this.replay === undefined || this.replay.readBack === this.replay.decisions.length
  }

  /**
   * Goes through a history read from the audit; nothing is written meanwhile. `wasParked`: what the function logs on events behind the
   * last decision was told by nobody, and is told if it goes on.
   */
  async recall(events: readonly PastEvent[], wasParked = false): Promise<void> {
    this.#replaying = true
    const decided = wasParked ? events.findLastIndex(({ event }) => event.decision > 0) : events.length
    for (const [i, past] of events.entries()) {
      if (i > decided) this.#late ??= []
      const classified = classify({ ...past.event, decision_chain: past.event.decision > 0 ? this.head.nextChain : '' }, past.content)
      if ('fault' in classified) throw new Error(`event ${past.seq} of ${this.executionId} is not what was accepted`)
      await this.#accepted(classified, past)
    }
    this.#replaying = false
    const late = this.#late ?? []
    this.#late = undefined
    if (!this.parked) for (const tell of late) tell()
    this.sent = this.replay?.readBack ?? 0
    // What was asked for by a settled history is acknowledged; whoever must ask again calls forgetRequests.
    for (const open of this.openActions()) this.#requested.set(open.action, open.attempt)
  }

  /** Requests of open attempts are made again, as far as anybody knows they were never made. */
  forgetRequests(): void {
    this.#requested.clear()
    this.#due = 'all'
  }

  /** Judges a record, and feeds it to the function if it is accepted. `unforeseen`: D4, nothing was taken. */
  async take(classified: Classified, appendedAt: number): Promise<Judged | 'unforeseen'> {
    // Not waited for nothing: in that moment an outcome could be fed ahead, in the middle of this.
    if (this.#foreseen) await this.#foreseen.done
    const verdict = accept(classified, this.head, this.#contents.get(classified.event.event_id), appendedAt)
    if (verdict.verdict !== 'accepted') return verdict
    const { event } = classified
    if (this.#foreseen && event.event_name !== 'workflow.terminateRequested') {
      if (!this.#isForeseen(classified, verdict.seq)) return 'unforeseen'
      this.#foreseen = undefined
      this.#judged(classified, verdict.head)
      this.replay?.foreseen(appendedAt)
      this.look()
      return verdict
    }
    this.#taking = true
    await this.#accepted(classified, { event, seq: verdict.seq, appendedAt }, verdict.head)
    this.#taking = false
    return verdict
  }

  /**
   * D4. Feeds an outcome that is about to be appended, if nothing else is under way. Gives what its function decides on it, to be appended
   * right behind; `unfit` if that depends on what is not known yet. `about`: ms since 1970 UTC.
   */
  async foresee(classified: Classified, about: number): Promise<readonly WorkflowEvent[] | 'unfit'> {
    const { replay, head } = this
    const { event, role } = classified
    if (!replay || this.parked || this.ended || this.#taking || this.#replaying || this.#foreseen) return []
    if (event.event_name !== 'action.completed' || role.kind !== 'outcome' || !replay.awaitsOnly(role.action, role.attempt)) return []
    if (head.seq + 1 >= HISTORY_LIMIT.warn) return []
    const seq = head.seq + 1
    const foreseen = { classified, seq, done: replay.foresee(event, about), fits: true }
    this.#foreseen = foreseen
    foreseen.fits = await foreseen.done
    this.sent = replay.decisions.length
    // Left meanwhile, it says nothing of the action.
    if (!foreseen.fits) return replay.status === 'ended' ? [] : 'unfit'
    return replay.decisions.slice(replay.readBack).map((decision, i) => madeAhead(decision, seq + 1 + i, classified.content))
  }

  #isForeseen({ event, content }: Classified, seq: number): boolean {
    const foreseen = this.#foreseen
    return (
      foreseen !== undefined &&
      foreseen.fits &&
      foreseen.seq === seq &&
      foreseen.classified.event.event_id === event.event_id &&
      foreseen.classified.content === content
    )
  }

  #judged({ event, content }: Classified, head: Head): void {
    this.head = head
    this.#contents.set(event.event_id, content)
  }

  async #accepted(classified: Classified, fed: Fed, head = this.#headAfter(classified, fed)): Promise<void> {
    const { content } = classified
    this.#judged(classified, head)
    if (this.parked) return
    if (fed.seq > HISTORY_LIMIT.most && !this.ended) this.parked = { kind: 'history-full', events: fed.seq }
    if (fed.seq === HISTORY_LIMIT.warn && !this.#replaying)
      this.#logger.warn({ executionId: this.executionId, limit: HISTORY_LIMIT.most }, 'the history of an execution nears its limit')
    await this.#feed({ ...fed, content })
  }

  #headAfter(classified: Classified, { appendedAt, seq }: Fed): Head {
    const verdict = accept(classified, this.head, undefined, appendedAt)
    if (verdict.verdict !== 'accepted') throw new Error(`event ${seq} of ${this.executionId} was accepted and now is ${verdict.verdict}`)
    return verdict.head
  }

  async #feed(fed: Fed): Promise<void> {
    if (fed.event.event_name === 'workflow.started' && fed.event.decision === 0) await this.#start(fed)
    else if (this.replay) await this.replay.feed(fed)
    else this.#before.push(fed)
    this.look()
  }

  async #start(fed: Fed): Promise<void> {
    const payload = payloadObject(fed.event)
    const [workflow, version] = [String(payload?.['workflow_name']), String(payload?.['workflow_version'])]
    this.started = fed.event
    const found = this.#find(workflow, version)
    if (!found) {
      this.parked = { kind: 'not-registered', workflow, version }
      return
    }
    const { tenant, executionId } = this
    this.replay = createReplay({
      workflow: found,
      tenant,
      executionId,
      logger: this.#lines(),
      replaying: () => this.#replaying && !this.#late,
      requested: (n) => this.#isDue(n),
    })
    for (const before of this.#before.splice(0)) await this.replay.feed(before)
    await this.replay.feed(fed)
  }

  #lines(): LineLog {
    const line = (level: keyof LineLog) => (facts: object, message: string) => {
      const tell = () => this.#logger[level](facts, message)
      if (this.#late) this.#late.push(tell)
      else tell()
    }
    return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  }

  /** Notes a divergence, also one that came between two records. */
  look(): void {
    if (this.#foreseen) return
    const divergence = this.replay?.divergence
    if (divergence) this.parked ??= { kind: 'diverged', divergence }
  }

  /** Decisions to be appended now, in order; they count as sent. */
  unsent(): readonly WorkflowEvent[] {
    if (!this.replay || this.parked || this.ended || this.#foreseen) return []
    const events = this.replay.decisions.slice(Math.max(this.sent, this.replay.readBack))
    this.sent = this.replay.decisions.length
    return events
  }

  /** What was sent and not read back is to be sent again. */
  resend(): void {
    this.sent = this.replay?.readBack ?? 0
  }

  /** All appends are answered and read past, and still the log lacks decisions: somebody else's came between. */
  isMissing(processed: number): boolean {
    if (!this.replay || this.parked || this.ended || this.#foreseen || this.inFlight > 0) return false
    return this.sent > this.replay.readBack && this.lastAppended < processed
  }

  openActions(): readonly OpenAction[] {
    if (!this.replay || this.parked || this.ended) return []
    return [...this.replay.openActions.values()].filter(({ state }) => state === 'requested')
  }

  /** Open attempts for which no request was made; they count as requested. D1: the replay knows only what was read back. */
  unrequested(): readonly OpenAction[] {
    const due = this.#due
    if (!this.replay || this.parked || this.ended || (due !== 'all' && due.size === 0)) return []
    this.#due = new Set()
    const open = (due === 'all' ? this.openActions() : this.#openOf(due)).filter(
      ({ action, attempt }) => this.#requested.get(action) !== attempt,
    )
    for (const { action, attempt } of open) this.#requested.set(action, attempt)
    return open
  }

  #openOf(actions: Iterable<number>): OpenAction[] {
    const found: OpenAction[] = []
    for (const action of actions) {
      const open = this.replay?.openAction(action)
      if (open?.state === 'requested') found.push(open)
    }
    return found
  }

  #isDue(action: number): void {
    if (this.#due !== 'all') this.#due.add(action)
  }

  /** A request was not acknowledged. */
  notRequested(action: number): void {
    this.#requested.delete(action)
    this.#isDue(action)
  }

  dispose(): void {
    this.replay?.dispose()
  }
}
