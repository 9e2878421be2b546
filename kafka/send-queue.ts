// What waits to be sent to one partition. Pure: time comes in as an argument, and the producer does the sending.
//
// Q1  Records leave in the order in which they came.
// Q2  A batch whose outcome is unknown comes first, alone and unchanged, until it was acknowledged; nothing overtakes it.
// Q3  One record that is refused fails its caller only: the batch is halved until the culprit stands alone.
// Q4  When the oldest caller's deadline is over, all callers of the partition fail together, so that no later record is
//     written where an earlier one was given up.

import type { Appended, LogAppend } from './log.ts'

export type Waiting = {
  record: LogAppend
  bytes: number
  /** When its caller gives up (performance.now() milliseconds); Infinity once the caller was answered. */
  deadline: number
  resolve: (appended: Appended) => void
  reject: (error: Error) => void
}

export type Batch = {
  entries: readonly Waiting[]
  bytes: number
  /** 'sure': nothing of it was written yet. 'unknown': it may have been. */
  outcome: 'sure' | 'unknown'
  /** True when it must have a send for itself, so that a refusal names it. */
  alone: boolean
}

/** Most bytes and records of one partition in one send: a topic takes 1,048,588 bytes by default, client and batch headers included. */
export const BATCH_BYTES = 1_000_000
const BATCH_RECORDS = 1000

// Upper bounds of what the format adds to a record and a header.
const RECORD_OVERHEAD = 40
const HEADER_OVERHEAD = 10

export function sizeOf({ key, value, headers = {} }: LogAppend): number {
  let bytes = RECORD_OVERHEAD + Buffer.byteLength(key) + value.byteLength
  for (const [name, text] of Object.entries(headers)) bytes += HEADER_OVERHEAD + Buffer.byteLength(name) + Buffer.byteLength(text)
  return bytes
}

export class SendQueue {
  readonly topic: string
  readonly partition: number
  #waiting: Waiting[] = []
  #again: Batch[] = []
  #inFlight: Batch | undefined

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }

  get inFlight(): boolean {
    return this.#inFlight !== undefined
  }

  get empty(): boolean {
    return !this.inFlight && this.#waiting.length === 0 && this.#again.length === 0
  }

  get ready(): boolean {
    return !this.inFlight && !this.empty
  }

  /** When the oldest caller gives up. */
  get deadline(): number {
    const oldest = this.#inFlight ?? this.#again.find(({ entries }) => entries.some(({ deadline }) => deadline < Infinity))
    return oldest?.entries[0]?.deadline ?? this.#waiting[0]?.deadline ?? Infinity
  }

  /** Whether the next batch must have a send for itself. */
  get alone(): boolean {
    return this.#again[0]?.alone ?? false
  }

  push(waiting: Waiting): void {
    this.#waiting.push(waiting)
  }

  /** The next batch, now in flight: tell `acknowledged`, `failed` or `refused` how it went. */
  take(): Batch {
    this.#inFlight = this.#again.shift() ?? this.#cut()
    return this.#inFlight
  }

  #cut(): Batch {
    let bytes = 0
    let count = 0
    for (const entry of this.#waiting) {
      if (count > 0 && (bytes + entry.bytes > BATCH_BYTES || count === BATCH_RECORDS)) break
      bytes += entry.bytes
      count++
    }
    return { entries: this.#waiting.splice(0, count), bytes, outcome: 'sure', alone: false }
  }

  acknowledged(baseOffset: number, appendedAt: number): void {
    const { entries } = this.#land()
    for (const [i, { resolve }] of entries.entries()) resolve({ partition: this.partition, offset: baseOffset + i, appendedAt })
  }

  /** The send failed: the same records are sent again. `outcome` 'sure' when it is certain that none was written. */
  failed(outcome: Batch['outcome'], alone = false): void {
    const batch = this.#land()
    const givenUp = batch.entries.every(({ deadline }) => deadline === Infinity)
    if (givenUp && batch.outcome === 'sure' && outcome === 'sure') return
    this.#again.unshift({ ...batch, alone: batch.alone || alone, outcome: batch.outcome === 'unknown' ? 'unknown' : outcome })
  }

  /** The broker refused this batch, sent alone, for what is in it (`error` tells the caller of the culprit). */
  refused(error: Error): void {
    const batch = this.#land()
    const { entries } = batch
    if (entries.length === 1) return entries[0]!.reject(error)
    const half = Math.ceil(entries.length / 2)
    const part = (some: readonly Waiting[]): Batch => ({ ...batch, entries: some, bytes: some.reduce((sum, { bytes }) => sum + bytes, 0) })
    this.#again.unshift(part(entries.slice(0, half)), part(entries.slice(half)))
  }

  /** Fails all callers; batches of unknown outcome stay, without their callers, unless `forget`. */
  giveUp(error: Error, forget = false): void {
    const unknown = this.#again.filter(({ outcome }) => outcome === 'unknown')
    const all = [...(this.#inFlight?.entries ?? []), ...this.#again.flatMap(({ entries }) => entries), ...this.#waiting]
    this.#waiting = []
    this.#again = forget ? [] : unknown
    for (const { reject } of all) reject(error)
  }

  #land(): Batch {
    const batch = this.#inFlight
    if (!batch) throw new Error(`Nothing of ${this.topic} p${this.partition} is in flight`)
    this.#inFlight = undefined
    return batch
  }
}
