// One fetch for several readers of a process: the client of one of them fetches a partition, the others are handed the same
// records, and their own clients fetch none of it. What it saves is most of what a further reader costs.
//
// Owns: who fetches for whom. Doesn't own: where a reader is, which is as if it had fetched for itself (assigned.ts).
//
// S1  Readers of one place only: one is handed a batch that begins at or below its end, and follows until that is not so.
// S2  None waits long: who is late, fetching or following, is left alone for a while.
// S3  Where the one that fetches rests, is elsewhere or gone, those that follow it fetch for themselves again.
// S4  Batches of few records are not shared: there one costs little, and who reads them must not wait for anybody, as when an operation
//     holds one generation so that another comes up to it.
// S5  One that leads hands on every batch and waits for nobody; who has more than a few in hand then fetches for itself again.

import { setTimeout as pause } from 'node:timers/promises'
import type { Assigned } from './assigned.ts'
import type { Fetched } from './fetched.ts'

export type SharedFetches = {
  /** `leads`: S5. */
  join(one: Assigned, leads?: boolean): void
  /** Like `one.take`, for all that are where it is. */
  take(one: Assigned, batch: Fetched): Promise<'taken' | 'left'>
  /** It rests, goes on elsewhere, or is closed. */
  away(one: Assigned): void
}

/** Milliseconds that one waits for another with a batch, and for which whoever was late is left alone. */
const LATE = 500
const ALONE = 10_000
/** S4. Records. */
const FEW = 100
/** S5. Batches. */
const IN_HAND = 3

export function createSharedFetches(late = LATE, alone = ALONE, few = FEW): SharedFetches {
  const members = new Map<string, Set<Assigned>>()
  /** Who fetches for it. */
  const sources = new Map<Assigned, Assigned>()
  const leaders = new WeakSet<Assigned>()
  const aloneUntil = new WeakMap<Assigned, number>()

  const placeOf = ({ topic, partition }: Assigned) => `${topic}/${partition}`
  const isAlone = (one: Assigned) => (aloneUntil.get(one) ?? 0) > performance.now()
  const wasLate = (one: Assigned) => aloneUntil.set(one, performance.now() + alone)

  function letGo(one: Assigned): void {
    if (sources.delete(one)) one.fetchItself()
  }

  function letFollowersGo(source: Assigned): void {
    for (const [one, its] of sources) if (its === source) letGo(one)
  }

  /** S1. Those that get this batch too. */
  function followersOf(source: Assigned, { from, next }: Fetched): Assigned[] {
    if (isAlone(source)) return []
    const found: Assigned[] = []
    for (const one of members.get(placeOf(source)) ?? []) {
      if (one === source || leaders.has(one)) continue
      const follows = sources.get(one) === source
      if (!one.inPlace || isAlone(one) || one.end < from || one.end > next) {
        if (follows) letGo(one)
        continue
      }
      if (!follows) {
        letFollowersGo(one)
        sources.set(one, source)
        one.hold()
      }
      found.push(one)
    }
    return found
  }

  /** S2. Resolves once all are done with a batch, or the first of them was so long ago that the others are late. */
  async function inStep(source: Assigned, takes: ReadonlyMap<Assigned, Promise<unknown>>): Promise<void> {
    const open = new Set(takes.keys())
    const done = new AbortController()
    const all = [...takes].map(([one, its]) => its.finally(() => open.delete(one)))
    const timeUp = Promise.race(all).then(() => pause(late, undefined, { signal: done.signal }).catch(() => undefined))
    await Promise.race([Promise.all(all), timeUp])
    done.abort()
    for (const each of open) {
      wasLate(each)
      letGo(each)
    }
    if (open.has(source)) letFollowersGo(source)
  }

  /** S5. */
  function handOn(leader: Assigned, batch: Fetched): void {
    for (const one of followersOf(leader, batch))
      if (one.inHand < IN_HAND) one.take(batch).catch(() => letGo(one))
      else letGo(one)
  }

  return {
    join(one, leads = false) {
      if (leads) leaders.add(one)
      const place = placeOf(one)
      members.set(place, (members.get(place) ?? new Set()).add(one))
    },
    async take(one, batch) {
      // Fetched before it began to follow.
      if (sources.has(one)) return 'left'
      if (leaders.has(one)) {
        // Resting, it would hand on what it takes, and then nothing for a while.
        if (one.inPlace) handOn(one, batch)
        return one.take(batch)
      }
      if (batch.records.length < few) {
        letFollowersGo(one)
        return one.take(batch)
      }
      const followers = followersOf(one, batch)
      const taken = one.take(batch)
      const takes = new Map([[one, taken], ...followers.map((each) => [each, each.take(batch)] as const)])
      if (followers.length > 0) await inStep(one, takes)
      return taken
    },
    away(one) {
      if (one.closed) members.get(placeOf(one))?.delete(one)
      // It says itself where its client goes on.
      sources.delete(one)
      letFollowersGo(one)
    },
  }
}
