// What this process appends comes back with its next fetch, when it has been taken already. Owns: which records those are, and how
// long nothing more need be fetched; each append would else be fetched by itself.

import { LRUCache } from 'lru-cache'

/** Before the next fetch after a batch without records of others, ms; `most` where none came for `after`: hardly anything waits then. */
const REST = { least: 5, most: 20, after: 1000 }
/** Appended and not seen in a batch. */
const REMEMBERED = 10_000

export type OwnRecords = {
  /** This process is about to append the event. */
  announce(eventId: string): void
  /** Told of a batch's events that were not taken before it; answers for how long nothing need be fetched, ms. */
  rest(eventIds: Iterable<string>): number
}

export function createOwnRecords(now: () => number = () => performance.now()): OwnRecords {
  const own = new LRUCache<string, true>({ max: REMEMBERED })
  let othersAt = now()
  return {
    announce: (eventId) => void own.set(eventId, true),
    rest(eventIds) {
      let others = 0
      for (const eventId of eventIds) if (!own.delete(eventId)) others++
      if (others > 0) othersAt = now()
      return others > 0 ? 0 : now() - othersAt < REST.after ? REST.least : REST.most
    },
  }
}
