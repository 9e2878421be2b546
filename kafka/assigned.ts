// One partition, from its assignment to this member until the next rebalance. Owns where it is and whether it may be read;
// doesn't own the client (reader.ts), nor what a batch means (the handler).
//
// A1  Nothing is handed on before the handler's checkpoint was found between the log's first offset and its end.
// A2  Batches are contiguous: one that begins above `next` is a gap and never handed on; what is below `next` is cut off.
// A3  One batch at a time. `next` moves only with the handler's answer.
// A4  After a failure the partition rests, then asks for the checkpoint again. The client never hears of it: an error in
//     its call-back would restart the whole member.
// A6  Before anything else is handed on, the handler's witness is looked at: another record there is `log-replaced`.
// A5  Closed (its partition may be somebody else's by now), it hands on nothing more; what the handler is still storing is
//     refused, or not, by the checkpoint's compare-and-set.

import { setTimeout as pause } from 'node:timers/promises'
import { RefoldError, asError } from '../errors.ts'
import { parts, since } from './fetched.ts'
import type { Fetched } from './fetched.ts'
import type { LogHandler, Witness } from './log.ts'

/** What it asks of the reader. */
export type AssignedPorts = {
  bounds(partition: number): Promise<{ low: number; high: number }>
  /** Stops fetching the partition. */
  hold(partition: number): void
  /** Goes on fetching it, from `offset`. */
  release(partition: number, offset: number): void
  /** The handler's checkpoint moved to `next`. */
  moved(partition: number, next: number): void
  failed(partition: number, error: RefoldError, tries: number): void
  /** What it failed at last has succeeded. */
  goesOn(partition: number): void
  /** It rests, goes on elsewhere than behind what it took, or is closed. */
  away(partition: number): void
}

type Outcome = 'taken' | 'left'

export type Phase =
  | { name: 'positioning' }
  | { name: 'reading' }
  /** `error.code` is `log-replaced` where the log doesn't reach the checkpoint any more. */
  | { name: 'resting'; error: RefoldError }
  | { name: 'closed' }

const REST = { first: 200, most: 10_000 }
// After a change of leader a watermark can lie behind what was acknowledged, for a moment.
const LOOKS = 4

export class Assigned {
  readonly topic: string
  readonly partition: number
  phase: Phase = { name: 'positioning' }
  next = 0
  highWatermark = 0
  /** True while the handler has a batch. */
  busy = false
  readonly #handler: LogHandler
  readonly #ports: AssignedPorts
  readonly #maxRecords: number
  readonly #closing = new AbortController()
  /** Not yet seen in the log since the partition was positioned. */
  #witness: Witness | undefined
  #turn: Promise<unknown> = Promise.resolve()
  /** Batches that it was given and has not finished. */
  readonly #inHand = new Set<Fetched>()
  #failures = 0
  #interrupted = false
  #finishing = false

  constructor(topic: string, partition: number, handler: LogHandler, ports: AssignedPorts, maxRecords: number) {
    this.topic = topic
    this.partition = partition
    this.#handler = handler
    this.#ports = ports
    this.#maxRecords = maxRecords
  }

  get closed(): boolean {
    return this.#closing.signal.aborted
  }

  /** Where it goes on once all that it was given is stored. */
  get end(): number {
    return Math.max(this.next, ...[...this.#inHand].map(({ next }) => next))
  }

  /** Batches that it was given and has not finished. */
  get inHand(): number {
    return this.#inHand.size
  }

  /** It awaits the records from `end` on, and nothing else. */
  get inPlace(): boolean {
    return this.phase.name === 'reading' && !this.#finishing && this.#witness === undefined
  }

  /** Its client fetches none for a while: its records come from elsewhere. */
  hold(): void {
    this.#ports.hold(this.partition)
  }

  /** Its client fetches from `end` on. */
  fetchItself(): void {
    if (this.phase.name === 'reading') this.#ports.release(this.partition, this.end)
  }

  /** Finds its place in the log, then lets the client fetch from there; tries until it succeeds or is closed. */
  async position(): Promise<void> {
    this.phase = { name: 'positioning' }
    const isOwed = this.#failures > 0 // something by the handler, which a place found says nothing of
    this.#ports.hold(this.partition)
    while (!this.closed) {
      try {
        const { next, low } = await this.#checkpoint()
        const witness = await this.#handler.witness?.(this.partition)
        if (this.closed) return
        this.next = next
        this.#witness = witness && witness.offset >= low && witness.offset < next ? witness : undefined
        this.phase = { name: 'reading' }
        // Mirrored at once: the group's offset may be a person's, or missing.
        this.#ports.moved(this.partition, next)
        if (!isOwed) this.#succeeded()
        return this.#ports.release(this.partition, this.#witness?.offset ?? next)
      } catch (error) {
        await this.#rest(error)
      }
    }
  }

  /** Hands on a fetched batch. 'taken': all of it is stored. 'left': not all; the partition knows where it goes on. */
  take(batch: Fetched): Promise<Outcome> {
    this.#inHand.add(batch)
    const taken = this.#turn.then(() => this.#take(batch)).finally(() => this.#inHand.delete(batch))
    this.#turn = taken.catch(() => undefined)
    return taken
  }

  /** Stops after the part in the handler's hands; what is left of the batch will be fetched again. */
  interrupt(): void {
    this.#interrupted = true
  }

  /** Takes nothing more, and resolves once the part in the handler's hands is stored. */
  async finish(): Promise<void> {
    this.#finishing = true
    this.#interrupted = true
    await this.#turn
  }

  close(): void {
    this.#closing.abort()
    this.phase = { name: 'closed' }
    this.#ports.away(this.partition)
  }

  async #take(batch: Fetched): Promise<Outcome> {
    if (this.phase.name !== 'reading' || this.#finishing) return 'left'
    this.#interrupted = false
    this.highWatermark = Math.max(this.highWatermark, batch.highWatermark)
    if (this.#witness && !isSeen(this.#witness, batch)) {
      const place = `p${this.partition}:${this.#witness.offset}`
      this.#restart(new RefoldError('log-replaced', `the record at ${place} is not the one that was read there before`))
      return 'left'
    }
    this.#witness = undefined
    if (batch.next <= this.next) return 'taken'
    if (batch.from > this.next || batch.holes !== 0) {
      this.#restart(new RefoldError('log-unavailable', `offsets are missing from p${this.partition}:${this.next} on`))
      return 'left'
    }
    for (const part of parts(since(batch, this.next), this.#maxRecords)) {
      const stored = await this.#store(part)
      if (stored === undefined || this.closed) return 'left'
      this.next = stored
      this.#succeeded()
      this.#ports.moved(this.partition, stored)
      if (stored !== part.next) {
        this.#ports.away(this.partition)
        this.#ports.release(this.partition, stored)
        return 'left'
      }
      if (this.#interrupted && stored !== batch.next) return 'left'
    }
    return 'taken'
  }

  async #store({ from, next, records, highWatermark }: Fetched): Promise<number | undefined> {
    this.busy = true
    try {
      return await this.#handler.batch({ topic: this.topic, partition: this.partition, from, next, records, highWatermark })
    } catch (error) {
      this.#restart(error)
      return undefined
    } finally {
      this.busy = false
    }
  }

  #succeeded(): void {
    if (this.#failures === 0) return
    this.#failures = 0
    this.#ports.goesOn(this.partition)
  }

  // Not awaited: the client's call-back returns, and other partitions go on.
  #restart(thrown: unknown): void {
    if (this.closed) return
    this.#ports.hold(this.partition)
    this.#ports.away(this.partition)
    void this.#rest(thrown).then(() => this.position())
  }

  async #checkpoint(): Promise<{ next: number; low: number }> {
    for (let looks = 1; ; looks++) {
      const next = await this.#handler.checkpoint(this.partition)
      const { low, high } = await this.#ports.bounds(this.partition)
      this.highWatermark = high
      if (next >= low && next <= high) return { next, low }
      if (looks === LOOKS || this.closed)
        throw new RefoldError('log-replaced', `p${this.partition} goes from ${low} to ${high}, the checkpoint is ${next}`)
      await this.#wait(REST.first * looks)
    }
  }

  async #rest(thrown: unknown): Promise<void> {
    if (this.closed) return
    const error =
      thrown instanceof RefoldError
        ? thrown
        : new RefoldError('internal', `p${this.partition}: ${asError(thrown).message}`, { cause: thrown })
    const tries = ++this.#failures
    this.phase = { name: 'resting', error }
    this.#ports.failed(this.partition, error, tries)
    await this.#wait(Math.min(REST.most, REST.first * 2 ** (tries - 1)))
  }

  #wait(milliseconds: number): Promise<void> {
    return pause(milliseconds, undefined, { signal: this.#closing.signal }).catch(() => undefined)
  }
}

/** Whether a batch bears a witness out; one that begins above it says nothing of it. */
function isSeen({ offset, isSame }: Witness, { from, next, records }: Fetched): boolean {
  if (from > offset || next <= offset) return true
  const record = records.find((one) => one.offset === offset)
  return record !== undefined && isSame(record)
}
