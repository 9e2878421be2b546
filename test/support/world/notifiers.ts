// The notifiers of a world, their lease, their stream, and a reader.

import { setTimeout as pause } from 'node:timers/promises'
import { createNotifier, type NotifierOptions } from '../../../consumers/notifier.ts'
import { createNotifierNews } from '../../../consumers/notifier-news.ts'
import { createNotificationStream } from '../../../redis/notifications.ts'
import { createWatch } from '../../../watch.ts'
import { MemoryNotifierTables } from './notifier-store.ts'
import type { MortalProcess } from './process.ts'
import type { MemoryRecord } from './record.ts'
import { MemoryStream } from './stream.ts'
import { ContractReader } from './told.ts'

/** All is flushed within so long, again and again, ms. */
const FLUSHED = 600

export type NotifiersOptions = {
  record: MemoryRecord
  random: () => number
  isCalm: () => boolean
  /** Entries of the stream. */
  length: number
  mutation?: ((options: NotifierOptions) => NotifierOptions) | undefined
}

export class Notifiers {
  readonly stream: MemoryStream
  readonly tables: MemoryNotifierTables
  readonly reader: ContractReader
  readonly #did = { sent: 0, refilled: 0, failedRounds: 0 }
  readonly #options: NotifiersOptions
  readonly #over = new AbortController()

  constructor(options: NotifiersOptions) {
    const { record, random, isCalm, length } = options
    this.#options = options
    this.stream = new MemoryStream(random, isCalm)
    this.tables = new MemoryNotifierTables(record, random)
    this.reader = new ContractReader(record, this.stream, length)
    this.stream.added = this.reader.judge
    void this.#go(async () => {
      await pause(random() < 0.05 ? random() * 300 : 2)
      this.reader.readOn(1 + Math.floor(random() * 100))
    })
    void this.#go(async () => {
      await pause(random() * FLUSHED)
      if (!isCalm()) this.stream.flush()
    })
  }

  async #go(step: () => Promise<void>): Promise<void> {
    while (!this.#over.signal.aborted) await step()
  }

  /** A process of it; `hear` is told what the recorder tells. */
  start(process: MortalProcess, id: string): { hear: (told: string) => void; close: () => void } {
    const { length, random, isCalm, mutation } = this.#options
    const watch = createWatch()
    watch.on('notifier:events:sent', ({ sent }) => void (this.#did.sent += sent))
    watch.on('notifier:stream:refilled', () => this.#did.refilled++)
    watch.on('notifier:round:failed', () => this.#did.failedRounds++)
    const store = this.tables.store(process, id)
    const stream = createNotificationStream(this.stream.redisOf(process), 'stream', length)
    const heard = createNotifierNews(process.recorded.isOurs)
    const news = { ...heard, wait: (ms: number) => process.call('notifier.wait', () => heard.wait(ms)) }
    const { faults, recorded } = process
    const options = { store, stream, length, watch, faults, news, recorded }
    const notifier = createNotifier(mutation?.(options) ?? options)
    notifier.start()
    // Told to stop, it notes what it sent and leaves the lease.
    const stop = async () => {
      await pause(200 + random() * 800)
      if (isCalm() || process.dead) return
      await notifier.stop()
      process.die()
    }
    if (random() < 0.3) void stop()
    return { hear: news.listened, close: () => void notifier.stop() }
  }

  /** What is wrong, once all is told, or nothing more was for so long, ms. */
  async faults(stands: number): Promise<string[]> {
    const { record, length } = this.#options
    for (let [before, until] = ['', performance.now() + stands]; ; await pause(100)) {
      let missing = this.reader.missing()
      // One that comes new begins at the oldest entry.
      const late = new ContractReader(record, this.stream, length)
      if (missing.length === 0) {
        late.readOn(Infinity)
        missing = late.missing()
      }
      if (missing.join() !== before) [before, until] = [missing.join(), performance.now() + stands]
      if (missing.length === 0 || performance.now() > until) return [...this.reader.faults, ...late.faults, ...missing]
    }
  }

  readonly counts = () => ({
    ...this.#did,
    takenOver: this.tables.taken,
    streamsLost: this.stream.flushed,
    repeats: this.reader.repeats,
    gaps: this.reader.gaps,
  })

  close(): void {
    this.#over.abort()
  }
}
