// recorder → audit → [notifier] → Redis stream → downstream groups
//
// Owns: what is sent next, in which order, and what a Redis that lost its data is sent again. The audit is its outbox. Doesn't
// own: SQL (postgres/notifier-store.ts), Redis (redis/notifications.ts), the form of a notification (workflow/notification.ts).
//
// N1  Nothing is sent before it can be read: only what is below the recorder's checkpoint.
// N2  The checkpoint moves after Redis has taken the entries, in the statement that reads the next ones: each is sent at least once,
//     in order within its partition.
// N3  One notifier at a time has the lease; one that lost it and does not know sends repeats, which readers drop.
// N4  Redis notes, with the entries, how far each partition was sent. Where that is behind what this notifier knows (flushed,
//     or started from an older copy of its data), the entries between are sent again first: Redis refuses newer ones until then.
// N5  What this process's own recorder committed is sent without being read back (consumers/recorded-events.ts), while there is nothing
//     of others to be read. The checkpoints of that move in the next statement, UNREAD after the one before at the latest.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Faults } from '../faults.ts'
import type { Watch } from '../watch.ts'
import type { EventToTell } from '../workflow/notification.ts'
import type { NotifierNews } from './notifier-news.ts'
import type { RecordedEvents } from './recorded-events.ts'

/** Where the notifier is in a partition; `last` is the newest accepted offset below `next`, null before the first. */
export type NotifierPlace = { partition: number; next: number; last: number | null; recorded: number }

/** What is to be sent next: events of [next, read), in order. */
export type NotifierNext = NotifierPlace & { read: number; events: readonly EventToTell[] }

/** Offsets [from, before) of a partition. */
export type AuditRange = { partition: number; from: number; before: number }

/** Where a partition's checkpoint goes, from where. */
export type NotifierMove = { partition: number; from: number; next: number; last: number | null }

/** The port to Postgres. */
export type NotifierStore = {
  /** True while this process has the lease; renews it where due. */
  lead(): Promise<boolean>
  resign(): Promise<void>
  /** Moves checkpoints (where somebody else moved one, nothing is done), and answers all places, about `limit` events in all. */
  next(moves: readonly NotifierMove[], limit: number): Promise<readonly NotifierNext[]>
  /** Accepted events of a range, at most so many, in order. */
  events(range: AuditRange, limit: number): Promise<readonly EventToTell[]>
  /** Where the newest `count` events below the checkpoints begin, by partition. */
  newest(count: number): Promise<ReadonlyMap<number, number>>
  /** The newest accepted offset below this one; null: none. */
  lastBelow(partition: number, offset: number): Promise<number | null>
}

/** Entries of one partition, in order. */
export type NotificationPage = {
  partition: number
  /** What Redis must have been sent before, else it refuses the page; null: nothing. */
  known: number | null
  /** What it has been sent afterwards. */
  last: number
  entries: readonly { event: EventToTell; previous: number | null }[]
}

/** The port to Redis. */
export type NotificationStream = {
  /** The last offset sent of each partition, as Redis knows it. */
  sent(): Promise<ReadonlyMap<number, number>>
  /** Adds each page whole or not at all; answers the partitions that were refused. */
  add(pages: readonly NotificationPage[]): Promise<ReadonlySet<number>>
}

export type NotifierOptions = {
  store: NotifierStore
  stream: NotificationStream
  /** Entries the stream keeps, about. */
  length: number
  watch: Watch
  faults: Faults
  news: NotifierNews
  /** Of a recorder in this process. */
  recorded?: RecordedEvents
}

/** Events a round, of all partitions together. */
const PAGE = 2000
const IDLE = 250
/** What was sent is noted after so long, if no news comes before, ms. */
const NOTED = 20
/** For so long what is recorded here is sent without asking Postgres, ms. */
const UNREAD = 100
const STANDBY = 1000
const AGAIN = { first: 200, most: 5000 }

export function createNotifier({ store, stream, length, watch, faults, news, recorded: own }: NotifierOptions) {
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()
  let lastError: string | undefined
  /** Sent, and not yet noted in Postgres. */
  const moves = new Map<number, NotifierMove>()
  /** Where each partition that is followed in `own` was sent. */
  const sentTo = new Map<number, { next: number; last: number | null }>()
  /** When the places were last read. */
  let readAt = -Infinity
  /** Whether more was recorded than was read then. */
  let isBehind = false
  /** When Redis was last asked how far it was sent. */
  let asked = -Infinity

  const sleep = (ms: number) => pause(ms, undefined, { signal: stopping.signal }).catch(() => undefined)

  /** N4, of one partition. Answers how many were sent; refused: the data is lost again, or the lease. */
  async function refill({ partition, next, last }: NotifierPlace, from: number, held: number | null): Promise<number | 'refused'> {
    let known = held
    let previous = await store.lastBelow(partition, from)
    let sent = 0
    for (let at = from; at < next;) {
      if (!(await store.lead())) return 'refused'
      const events = await store.events({ partition, from: at, before: next }, PAGE)
      const newest = events.at(-1)?.offset
      if (newest === undefined) break
      const page = { partition, known, last: newest, entries: withPrevious(events, previous) }
      if ((await stream.add([page])).size > 0) return 'refused'
      sent += events.length
      known = previous = newest
      at = newest + 1
    }
    // Nothing of this partition is new enough: Redis is told only how far it was sent.
    if (sent === 0 && last !== null) await stream.add([{ partition, known, last, entries: [] }])
    return sent
  }

  async function sendAgain(places: readonly NotifierPlace[], held: ReadonlyMap<number, number>): Promise<void> {
    const begins = await store.newest(length)
    let sent = 0
    for (const place of places) {
      const has = held.get(place.partition) ?? null
      const from = Math.max(begins.get(place.partition) ?? place.next, (has ?? -1) + 1)
      const refilled = await refill(place, from, has)
      if (refilled === 'refused') return
      sent += refilled
    }
    watch.emit('notifier:stream:refilled', { sent })
  }

  /** Sends what was read of each partition; answers what Redis refused. */
  async function sendNew(due: readonly NotifierNext[]): Promise<ReadonlySet<number>> {
    const pages = due.flatMap(({ partition, last: known, events }): NotificationPage[] => {
      const last = events.at(-1)
      return last ? [{ partition, known, last: last.offset, entries: withPrevious(events, known) }] : []
    })
    const refused = await stream.add(pages)
    await faults.at('notifier:page:added')
    const taken = due.filter(({ partition }) => !refused.has(partition))
    for (const { partition, next: from, read: next, last: before, events } of taken) {
      const last = events.at(-1)?.offset ?? before
      moves.set(partition, { partition, from: moves.get(partition)?.from ?? from, next, last })
      follow(partition, next, last)
    }
    const sent = taken.reduce((sum, { events }) => sum + events.length, 0)
    const behind = due.reduce((sum, { partition, next, read, recorded }) => sum + recorded - (refused.has(partition) ? next : read), 0)
    if (sent > 0) watch.emit('notifier:events:sent', { sent, behind })
    return refused
  }

  /** Notes what was sent, reads on. */
  async function readOn(limit: number): Promise<readonly NotifierNext[]> {
    news.reading()
    const moving = [...moves.values()]
    const found = await store.next(moving, limit)
    readAt = performance.now()
    moves.clear()
    for (const place of found) {
      news.known(place.partition, place.recorded)
      follow(place.partition, place.next, place.last)
    }
    if (moving.length > 0) await faults.at('notifier:checkpoint:moved')
    return found
  }

  function follow(partition: number, next: number, last: number | null): void {
    own?.follow(partition, next)
    sentTo.set(partition, { next, last })
  }

  function leave(): void {
    own?.leave()
    sentTo.clear()
  }

  /** What was recorded here since. */
  function ownDue(): NotifierNext[] {
    if (!own || isBehind || performance.now() - readAt >= UNREAD) return []
    const unknown = news.unknown()
    // What somebody else recorded would wait until the places are read.
    if (unknown === 'anything' || unknown.some(([partition, next]) => (own.end(partition) ?? -1) < next)) return []
    return [...sentTo].flatMap(([partition, place]) => {
      if ((own.end(partition) ?? -1) <= place.next) return []
      const kept = own.all(partition)
      return kept ? [{ partition, ...place, recorded: kept.next, read: kept.next, events: kept.events }] : []
    })
  }

  /** Answers after how long to go on, ms; undefined: there was nothing. */
  async function ownRound(): Promise<number | undefined> {
    const due = ownDue()
    if (due.length === 0) return undefined
    for (const { partition, read } of due) news.known(partition, read)
    const refused = await sendNew(due)
    // What Redis lost is for the round that reads.
    if (refused.size > 0) leave()
    return refused.size > 0 ? 0 : NOTED
  }

  /** N4. Answers whether something was lost. */
  async function sendLost(places: readonly NotifierPlace[]): Promise<boolean> {
    const held = await stream.sent()
    asked = performance.now()
    const lost = places.filter(({ partition, last }) => last !== null && (held.get(partition) ?? -1) < last)
    if (lost.length > 0) await sendAgain(lost, held)
    return lost.length > 0
  }

  /** Answers after how long to go on if no news comes before, ms. */
  async function round(): Promise<number> {
    const afterOwn = await ownRound()
    if (afterOwn !== undefined) return afterOwn
    const places = await readOn(PAGE)
    const due = places.filter((place) => place.next < place.recorded)
    isBehind = due.some(({ read, recorded }) => read < recorded)
    const refused = due.length > 0 ? await sendNew(due) : undefined
    const isLookedAt = refused?.size === 0 && performance.now() - asked < IDLE
    if (!isLookedAt && (await sendLost(places))) return 0
    if (refused?.size || isBehind) return 0
    return due.length > 0 ? NOTED : IDLE
  }

  async function run(): Promise<void> {
    for (let failures = 0; !stopping.signal.aborted;) {
      try {
        if (!(await store.lead())) {
          leave()
          await sleep(STANDBY)
        } else await news.wait(await round())
        failures = 0
        lastError = undefined
      } catch (error) {
        lastError = asError(error).message
        leave()
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
      if (moves.size > 0) await readOn(1).catch(() => undefined)
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
