// How a build leaves room for live traffic: it pauses while what people read is far behind, in proportion to what it is about to
// fold, and never for as long as that lasts. What is behind may stand (a partition whose schema cannot be had, say), and then a build
// that waited for it would stand with it.

import { setTimeout as sleep } from 'node:timers/promises'

/** Records that what people read may be behind before a build backs off. */
export const LIVE_LAG = 5000
/** A pause, ms; how many records it is for; and the most of them in a row. Small batches, as where a build is near, wait once. */
const PAUSE = 200
const RECORDS = 400
const MOST = 10

/** To be awaited before so many records of a build are folded. `waits`: called before each pause. */
export type BackOff = (records: number, options?: { signal?: AbortSignal; waits?: () => void }) => Promise<void>

export function createBackOff(lag: () => Promise<number>, pause: typeof sleep = sleep): BackOff {
  return async (records, { signal, waits } = {}) => {
    const most = Math.min(MOST, Math.ceil(records / RECORDS))
    for (let n = 0; n < most && (await lag()) > LIVE_LAG; n++) {
      waits?.()
      await pause(PAUSE, undefined, { signal }).catch(() => undefined)
    }
  }
}

/** By how much what people read is behind, while builds back off for it; 0: they don't. Not each time that it crosses the line. */
export const backedOffFor = (lag: number, before: number): number => (lag > (before > 0 ? LIVE_LAG / 2 : LIVE_LAG) ? lag : 0)
