// recorder → audit → [notifier] → Redis stream → downstream groups
//
// Owns: what is sent next, in which order, and what a Redis that lost its data is sent again. The audit is its outbox. Doesn't
// own: SQL (postgres/notifier-store.ts), Redis (redis/notifications.ts), the form of a notification (notification.ts).
//
// N1  Nothing is sent before it can be read: only what is below the recorder's checkpoint.
// N2  The checkpoint moves after Redis has taken the entries: each is sent at least once, in order within its partition.
// N3  One notifier at a time has the lease; one that lost it and does not know sends repeats, which readers drop.
// N4  A stream whose marker is gone lost its data: its last entries are sent again, then what is new.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Faults } from '../faults.ts'
import type { Watch } from '../watch.ts'
import type { EventToTell } from '../workflow/notification.ts'

/** Where the notifier is in a partition; `last` is the newest accepted offset below `next`, null before the first. */
export type NotifierPlace = { partition: number; next: number; last: number | null; recorded: number }

/** The port to Postgres. */
export type NotifierStore = {
  /** True while this process has the lease; renews it. */
  lead(): Promise<boolean>
  resign(): Promise<void>
  places(): Promise<readonly NotifierPlace[]>
  /** Accepted events of a partition in [from, before), at most so many. */
  events(partition: number, from: number, before: number, limit: number): Promise<readonly EventToTell[]>
  /** Compare-and-set; false: somebody else moved it. */
  move(place: NotifierPlace, next: number, last: number | null): Promise<boolean>
  /** Where the newest `count` events below the checkpoints begin, by partition. */
  newest(count: number): Promise<ReadonlyMap<number, number>>
  /** Resolves when something was recorded, or after ms. */
  wait(ms: number): Promise<void>
}

/** The port to Redis. */
export type NotificationStream = {
  /** Adds entries, in order; resolves with whether the stream's marker was there afterwards. */
  add(events: readonly { event: EventToTell; previous: number | null }[]): Promise<boolean>
  marked(): Promise<boolean>
  mark(): Promise<void>
}

export type NotifierOptions = {
  store: NotifierStore
  stream: NotificationStream
  /** Entries the stream keeps, about. */
  length: number
  watch: Watch
  faults: Faults
}

const PAGE = 500
const IDLE = 250
const STANDBY = 1000
const AGAIN = { first: 200, most: 5000 }

export function createNotifier({ store, stream, length, watch, faults }: NotifierOptions) {
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()
  let lastError: string | undefined

  const sleep = (ms: number) => pause(ms, undefined, { signal: stopping.signal }).catch(() => undefined)

  /** N4. Entries from so far back on; they stay below the checkpoints. */
  async function sendAgain(): Promise<void> {
    const begins = await store.newest(length)
    let sent = 0
    for (const { partition, next } of await store.places()) {
      let previous: number | null = null
      for (let from = begins.get(partition) ?? next; from < next;) {
        const events = await store.events(partition, from, next, PAGE)
        const last = events.at(-1)
        if (!last) break
        await stream.add(withPrevious(events, previous))
        sent += events.length
        previous = last.offset
        from = last.offset + 1
      }
    }
    await stream.mark()
    watch.emit('notifier:stream:refilled', { sent })
  }

  /** Sends a page of a partition; answers how many, or that the stream lost its data. */
  async function sendPage(place: NotifierPlace): Promise<number | 'unmarked' | 'overtaken'> {
    const events = await store.events(place.partition, place.next, place.recorded, PAGE)
    const last = events.at(-1)
    if (events.length > 0) {
      const isMarked = await stream.add(withPrevious(events, place.last))
      await faults.at('notifier:page:added')
      if (!isMarked) return 'unmarked'
    }
    const next = events.length === PAGE && last ? last.offset + 1 : place.recorded
    const isMoved = await store.move(place, next, last?.offset ?? place.last)
    await faults.at('notifier:checkpoint:moved')
    return isMoved ? events.length : 'overtaken'
  }

  async function round(): Promise<boolean> {
    if (!(await stream.marked())) await sendAgain()
    let sent = 0
    let behind = 0
    for (const place of await store.places()) {
      if (place.next >= place.recorded) continue
      const outcome = await sendPage(place)
      if (typeof outcome !== 'number') return true
      sent += outcome
      behind += Math.max(0, place.recorded - place.next - outcome)
    }
    if (sent > 0) watch.emit('notifier:events:sent', { sent, behind })
    return sent > 0
  }

  async function run(): Promise<void> {
    for (let failures = 0; !stopping.signal.aborted;) {
      try {
        if (!(await store.lead())) await sleep(STANDBY)
        else if (!(await round())) await store.wait(IDLE)
        failures = 0
        lastError = undefined
      } catch (error) {
        lastError = asError(error).message
        watch.emit('notifier:round:failed', { error: lastError })
        await sleep(Math.min(AGAIN.most, AGAIN.first * 2 ** failures++))
      }
    }
  }

  return {
    start() {
      running = run()
    },
    /** Why it does not get on; undefined: it does, or stands by. */
    get trouble() {
      return lastError
    },
    async stop() {
      stopping.abort()
      await running
      await store.resign().catch(() => undefined)
    },
  }
}

function withPrevious(events: readonly EventToTell[], before: number | null): { event: EventToTell; previous: number | null }[] {
  let previous = before
  return events.map((event) => {
    const one = { event, previous }
    previous = event.offset
    return one
  })
}
