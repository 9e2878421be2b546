// The stream of notifications in memory: a Redis that knows what redis/notifications.ts asks of it, loses its data at any moment, may
// have done a part of what was asked when the connection is lost, and does the rest later, or never.

import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { MortalProcess } from './process.ts'
import { later } from './notifier-store.ts'

/** A page of redis/notifications.ts's script. */
type Step = { partition: number; known: number; last: number; length: number; entries: readonly (readonly string[])[] }

/** `MAXLEN ~` leaves so many more, of ten. */
const ABOUT = 1.1
/** Between two commands of one client, those of others come so often. */
const BETWEEN = 0.2
/** A connection is lost so often in the middle of what was asked. */
const CUT = 0.01
/** What it did not come to is done later so often, ms. */
const LATE = { share: 0.5, most: 200 }

export class MemoryStream {
  entries: { id: number; fields: readonly string[] }[] = []
  readonly #sent = new Map<string, string>()
  /** Times that all was lost. */
  flushed = 0
  /** Positions that there was no room for. */
  readonly trimmed = new Set<string | undefined>()
  /** Told of each entry when it is added. */
  added: (fields: readonly string[]) => void = () => undefined
  readonly #random: () => number
  readonly #isCalm: () => boolean
  #ids = 0

  constructor(random: () => number, isCalm: () => boolean) {
    this.#random = random
    this.#isCalm = isCalm
  }

  flush(): void {
    this.flushed++
    this.entries = []
    this.#sent.clear()
  }

  /** A page. */
  #add({ partition, known, last, length, entries }: Step): 0 | 1 {
    const sent = Number(this.#sent.get(String(partition)) ?? '-1')
    if (sent < known) return 0
    for (const fields of entries) {
      this.entries.push({ id: ++this.#ids, fields })
      this.added(fields)
      if (this.entries.length > length * ABOUT)
        for (const old of this.entries.splice(0, this.entries.length - length))
          this.trimmed.add(old.fields[old.fields.indexOf('position') + 1])
    }
    if (sent < last) this.#sent.set(String(partition), String(last))
    return 1
  }

  /** Each script in one turn. */
  async #exec(scripts: readonly (readonly Step[])[]): Promise<[null, (0 | 1)[]][]> {
    await later(this.#random)
    const isCut = !this.#isCalm() && this.#random() < CUT
    const done = isCut ? Math.floor(this.#random() * scripts.length) : scripts.length
    const results: [null, (0 | 1)[]][] = []
    for (const steps of scripts.slice(0, done)) {
      results.push([null, steps.map((step) => this.#add(step))])
      if (this.#random() < BETWEEN) await pause(this.#random() * 3)
    }
    if (isCut) {
      const rest = () => scripts.slice(done).forEach((steps) => steps.forEach((step) => this.#add(step)))
      if (this.#random() < LATE.share) setTimeout(rest, this.#random() * LATE.most)
      throw new Error('the connection is lost')
    }
    await later(this.#random)
    return results
  }

  /** As a process is connected to it. */
  redisOf(process: MortalProcess): Redis {
    const pipeline = () => {
      const scripts: Step[][] = []
      return {
        eval: (_script: string, _keys: 2, _stream: string, _hash: string, length: number, pages: string) =>
          scripts.push(
            (JSON.parse(pages) as [string, string, string, string[][]][]).map(([partition, known, last, entries]) => ({
              partition: Number(partition),
              known: Number(known),
              last: Number(last),
              length,
              entries,
            })),
          ),
        exec: () => process.remote('stream.add', () => this.#exec(scripts)),
      }
    }
    const hgetall = () =>
      process.remote('stream.sent', async () => {
        await later(this.#random)
        const sent = Object.fromEntries(this.#sent)
        await later(this.#random)
        return sent
      })
    return { pipeline, hgetall } as unknown as Redis
  }
}
