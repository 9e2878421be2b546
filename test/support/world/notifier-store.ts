// What Postgres holds for notifiers, in memory: the lease, and how far each partition was sent (the port NotifierStore), each question
// one statement that sees one moment, as in postgres/notifier-store.ts. The audit is the record's.

import { setTimeout as pause } from 'node:timers/promises'
import type { NotifierMove, NotifierNext, NotifierStore } from '../../../consumers/notifier.ts'
import type { MortalProcess } from './process.ts'
import type { MemoryRecord } from './record.ts'

/** The lease lasts so long without being renewed, and who has it asks so seldom, ms: whoever is slow sends on without it. */
const LEASE = { lasts: 60, renew: 20 }
/** A standby asks once a second, which is seldom here: so often it finds that the holder stood still for longer than the lease. */
const STOOD_STILL = 0.5
/** Pages are so many times smaller. */
const SMALLER = 50
/** So often an answer takes longer than the lease, ms. */
const SLOW = { share: 0.01, most: 150 }

export const later = (random: () => number) => pause(random() < SLOW.share ? random() * SLOW.most : 0)

export class MemoryNotifierTables {
  #lease = { owner: '', until: -Infinity }
  readonly #places = new Map<number, { next: number; last: number | null }>()
  readonly #record: MemoryRecord
  readonly #random: () => number
  /** Times that another one took the lease. */
  taken = 0

  constructor(record: MemoryRecord, random: () => number) {
    this.#record = record
    this.#random = random
  }

  #lead(owner: string): boolean {
    const now = performance.now()
    const lease = this.#lease
    if (lease.owner !== owner && lease.until > now && this.#random() >= STOOD_STILL) return false
    if (lease.owner !== owner) this.taken++
    this.#lease = { owner, until: now + LEASE.lasts }
    return true
  }

  #move(moves: readonly NotifierMove[]): void {
    for (const { partition, from, next, last } of moves) {
      const place = this.#places.get(partition)
      if (place === undefined || place.next === from) this.#places.set(partition, { next, last })
    }
  }

  #next(limit: number): NotifierNext[] {
    const places = [...this.#record.recorded].map(([partition, recorded]) => ({
      partition,
      recorded,
      ...(this.#places.get(partition) ?? { next: 0, last: null }),
    }))
    const size = Math.ceil(limit / Math.max(1, places.filter(({ next, recorded }) => next < recorded).length))
    return places.map((place) => {
      const events = this.#record.accepted(place.partition, place.next, place.recorded).slice(0, size)
      const newest = events.at(-1)
      return { ...place, read: newest && events.length === size ? newest.offset + 1 : place.recorded, events }
    })
  }

  #newest(count: number): Map<number, number> {
    const below = [...this.#places].flatMap(([partition, { next }]) => this.#record.accepted(partition, 0, next))
    const newest = below.toSorted((a, b) => b.appendedAt - a.appendedAt || b.offset - a.offset).slice(0, count)
    return new Map(
      [...Map.groupBy(newest, ({ partition }) => partition)].map(([partition, own]) => [
        partition,
        Math.min(...own.map(({ offset }) => offset)),
      ]),
    )
  }

  /** Of one process. */
  store(process: MortalProcess, owner: string): NotifierStore {
    let leadsUntil = -Infinity
    const ask = <T>(port: string, work: () => T): Promise<T> =>
      process.remote(`notifier.${port}`, async () => {
        await later(this.#random)
        const answer = work()
        await later(this.#random)
        return answer
      })
    return {
      lead: async () => {
        const asked = performance.now()
        if (asked < leadsUntil) return true
        const leads = await ask('lead', () => this.#lead(owner))
        if (leads) leadsUntil = asked + LEASE.renew
        return leads
      },
      resign: async () => {
        leadsUntil = -Infinity
        await ask('resign', () => {
          if (this.#lease.owner === owner) this.#lease = { owner: '', until: -Infinity }
        })
      },
      next: (moves, limit) =>
        ask('next', () => {
          this.#move(moves)
          return this.#next(Math.ceil(limit / SMALLER))
        }),
      events: ({ partition, from, before }, limit) =>
        ask('events', () => this.#record.accepted(partition, from, before).slice(0, Math.ceil(limit / SMALLER))),
      lastBelow: (partition, offset) => ask('lastBelow', () => this.#record.accepted(partition, 0, offset).at(-1)?.offset ?? null),
      newest: (count) => ask('newest', () => this.#newest(count)),
    }
  }
}
