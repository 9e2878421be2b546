// One partition as a runtime sees it, from an assignment to the next: the executions in memory, how far it has come, and the
// checkpoint that follows behind what is not settled.

import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { RefoldError } from '../errors.ts'
import type { Appended } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import type { Driven, History } from './driven.ts'

/** Executions known to need nothing, of each partition. */
const MOST_IDLE = 50_000
/** Executions met since `origin`; beyond that the place begins anew. */
const MOST_MET = 200_000
/** Starts announced; one that was not appended is forgotten behind so many others. */
const MOST_EXPECTED = 1000
const RECORDER_POLL = { first: 2, most: 50 }
/** The recorder is behind for so long: the batch is given back, and asked for again. */
const RECORDER_WAIT = 30_000

export class Place {
  readonly partition: number
  readonly executions = new Map<string, Driven>()
  readonly unsettled = new Set<Driven>()
  /** Brought back on assignment; until they are settled no checkpoint is stored, since nothing else would bring them back. */
  readonly revived = new Set<Driven>()
  /** Only folded so far, ended, or driven elsewhere. Bounded by size: a bound by number has its memory at once, 10 ms of a start each. */
  readonly idle = new LRUCache<string, true>({ maxSize: MOST_IDLE, sizeCalculation: () => 1 })
  /** Of an execution not met since, every record is below this offset. */
  origin: number
  /** Every record below this offset was taken. */
  processed: number
  /** The checkpoint as stored. */
  saved: number
  /** The recorder's checkpoint as last seen. */
  recorded = -1
  saving: NodeJS.Timeout | undefined
  /** Appended by this process and not taken yet, in the order of their offsets. */
  readonly written: { event: WorkflowEvent; appended: Appended }[] = []
  /** Histories asked for when a start was about to be appended, so that they are here when it is; of `origin` as it was then. */
  readonly expected = new LRUCache<string, { origin: number; history: Promise<readonly History[]> }>({ max: MOST_EXPECTED })
  closed = false
  /** A memory that the log contradicted: the next batch makes the place anew. */
  doubt: Error | undefined
  readonly #met = new Set<string>()
  readonly #moved: (place: Place) => void
  #turn: Promise<unknown> = Promise.resolve()

  /** `isNew`: no checkpoint is stored yet. */
  constructor(partition: number, next: number, isNew: boolean, moved: (place: Place) => void) {
    this.partition = partition
    this.origin = next
    this.processed = next
    this.saved = isNew ? -1 : next
    this.#moved = moved
  }

  /** One at a time, in order. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  hasMet = (key: string) => this.#met.has(key)

  meet = (key: string) => void this.#met.add(key)

  /** A record was taken by an execution: it holds the checkpoint until what it caused is settled. */
  touched(driven: Driven, offset: number): void {
    // The newest last: eviction begins at the front.
    this.executions.delete(driven.key)
    this.executions.set(driven.key, driven)
    driven.unsettledFrom ??= offset
    this.unsettled.add(driven)
  }

  settle(driven: Driven): void {
    if (!driven.settled) return
    driven.unsettledFrom = undefined
    if (this.unsettled.delete(driven) || this.revived.has(driven)) this.#moved(this)
  }

  /** The same execution, made anew: what held the checkpoint holds it on. */
  takesPlaceOf(driven: Driven, before: Driven): void {
    driven.unsettledFrom = before.unsettledFrom
    if (this.unsettled.delete(before)) this.unsettled.add(driven)
    if (this.revived.delete(before)) this.revived.add(driven)
  }

  get checkpoint(): number {
    let next = this.processed
    for (const { unsettledFrom } of this.unsettled) if (unsettledFrom !== undefined && unsettledFrom < next) next = unsettledFrom
    return next
  }

  /** Between two batches: forgets those not used for longest, if nothing of them is under way. */
  evict(most: number): void {
    if (this.#met.size > MOST_MET) {
      this.#met.clear()
      for (const known of this.executions.keys()) this.#met.add(known)
      this.origin = this.processed
    }
    for (const [key, driven] of this.executions) {
      if (this.executions.size <= most) return
      if (!driven.settled) continue
      driven.dispose()
      this.executions.delete(key)
    }
  }

  close(): void {
    this.closed = true
    clearTimeout(this.saving)
    for (const driven of this.executions.values()) driven.dispose()
  }
}

/** Resolves once the recorder has come to offset `before`, or the place is closed. Rejects `recorder-behind` after half a minute. */
export async function untilRecorded(place: Place, before: number, recorded: (partition: number) => Promise<number>): Promise<void> {
  const until = performance.now() + RECORDER_WAIT
  for (let wait = RECORDER_POLL.first; place.recorded < before; wait = Math.min(2 * wait, RECORDER_POLL.most)) {
    place.recorded = await recorded(place.partition)
    if (place.recorded >= before || place.closed) return
    if (performance.now() > until)
      throw new RefoldError('recorder-behind', `p${place.partition}: the recorder is at ${place.recorded}, ${before} is needed`)
    await pause(wait)
  }
}
