// A notifier beside the recorder: what that committed is sent without being read back from the audit.

import { type Test, test } from 'tap'
import { createNotifier, type NotificationPage, type NotifierMove, type NotifierNext } from '../../consumers/notifier.ts'
import { createNotifierNews } from '../../consumers/notifier-news.ts'
import { createRecordedEvents } from '../../consumers/recorded-events.ts'
import type { AuditRow } from '../../consumers/recorder-fold.ts'
import { NO_FAULTS } from '../../faults.ts'
import { createWatch } from '../../watch.ts'
import type { EventToTell } from '../../workflow/notification.ts'
import { event } from '../support/events.ts'
import { until } from '../support/wait.ts'

const row = (offset: number): AuditRow => ({
  event: event({}),
  seq: offset + 1,
  from: 'a',
  to: 'b',
  content: '',
  partition: 0,
  offset,
  appendedAt: 0,
})

/** One partition. `commit`: a recorder stores a record; `here`: the one of this process. */
function notifying(t: Test) {
  const news = createNotifierNews()
  const recorded = createRecordedEvents()
  const did = {
    asked: 0,
    added: 0,
    slow: false,
    noted: [] as NotifierMove[][],
    sent: [] as number[],
    sentAs: [] as (number | null)[],
    refuses: false,
    away: false,
    leads: true,
  }
  const audit: EventToTell[] = []
  let place: { next: number; last: number | null } = { next: 0, last: null }
  let end = 0
  let sentTo: number | null = null
  const store = {
    lead: async () => did.leads,
    resign: async () => undefined,
    async next(moves: readonly NotifierMove[]): Promise<NotifierNext[]> {
      did.asked++
      if (moves.length > 0) did.noted.push([...moves])
      for (const { from, next, last } of moves) if (from === place.next) place = { next, last }
      return [{ partition: 0, ...place, recorded: end, read: end, events: audit.filter(({ offset }) => offset >= place.next) }]
    },
    events: async ({ from, before }: { from: number; before: number }) => audit.filter(({ offset }) => offset >= from && offset < before),
    newest: async () => new Map([[0, 0]]),
    lastBelow: async (_partition: number, offset: number) => audit.filter((one) => one.offset < offset).at(-1)?.offset ?? null,
  }
  const stream = {
    sent: async () => new Map(sentTo === null ? [] : [[0, sentTo]]),
    async add(pages: readonly NotificationPage[]) {
      did.added++
      if (did.slow) await new Promise((resolve) => setTimeout(resolve, 3))
      if (did.away) throw new Error('Redis is away')
      for (const { known, last, entries } of pages) {
        if (did.refuses || (known ?? -1) > (sentTo ?? -1)) return new Set([0])
        did.sent.push(...entries.map((entry) => entry.event.offset))
        did.sentAs.push(...entries.map(({ previous }) => previous))
        sentTo = Math.max(sentTo ?? -1, last)
      }
      return new Set<number>()
    },
  }
  const notifier = createNotifier({ store, stream, length: 1000, watch: createWatch(), faults: NO_FAULTS, news, recorded })
  notifier.start()
  t.teardown(() => notifier.stop())
  return {
    did,
    notifier,
    news,
    recorded,
    flush: () => (sentTo = null),
    place: () => place,
    commit({ here = true, heard = true } = {}) {
      const one = row(end)
      const { from: from_state, to: to_state, ...rest } = one
      audit.push({ ...one.event, from_state, to_state, ...rest })
      end++
      if (here) recorded.add(0, end - 1, end, [one])
      if (heard) news.woken(`0:${end}`)
    },
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

test('what was recorded here is sent without a question, and noted soon after', async (t) => {
  const { did, commit, place } = notifying(t)
  await until(() => did.asked > 0)
  // The first question of a notifier is followed by one for what Redis has.
  commit()
  await until(() => did.sent.length === 1)
  await until(() => place().next === 1)
  const before = did.asked
  for (let n = 2; n < 7; n++) {
    commit()
    await until(() => did.sent.length === n, { every: 1 })
  }
  t.ok(did.asked - before <= 3, `${did.asked - before} questions for 5 events`)
  await until(() => place().next === 6)
  t.strictSame(place(), { next: 6, last: 5 })
  t.strictSame(did.sent, upTo(6), 'each once, in order')
  t.strictSame(did.sentAs, [null, 0, 1, 2, 3, 4], 'each with the one before it')
  const moves = did.noted.flat()
  t.equal(moves[0]?.from, 0)
  t.ok(
    moves.every(({ from }, i) => i === 0 || from === moves[i - 1]?.next),
    'a move begins where the one before ended',
  )
})

test('what somebody else recorded between is read', async (t) => {
  const { did, commit } = notifying(t)
  await until(() => did.asked > 0)
  commit()
  await until(() => did.sent.length === 1)
  commit({ here: false })
  commit()
  await until(() => did.sent.length === 3)
  commit({ here: false, heard: false })
  commit()
  await until(() => did.sent.length === 5)
  t.strictSame(did.sent, upTo(5))
})

test('what Redis lost is sent again first', async (t) => {
  const { did, commit, flush } = notifying(t)
  await until(() => did.asked > 0)
  for (let n = 1; n < 5; n++) {
    commit()
    await until(() => did.sent.length === n)
  }
  flush()
  const { added } = did
  commit()
  await until(() => did.sent.includes(4))
  t.ok(did.added - added <= 5, `${did.added - added} tries`)
  t.strictSame(did.sent.slice(4), upTo(5), 'from the first on, in order')
})

test('while Redis is away nothing is lost, and nothing noted', async (t) => {
  const { did, commit, place, notifier, recorded } = notifying(t)
  await until(() => did.asked > 0)
  commit()
  await until(() => place().next === 1)
  did.away = true
  commit()
  commit()
  await until(() => notifier.trouble !== undefined)
  t.equal(place().next, 1)
  t.equal(recorded.all(0), undefined, 'nor kept in memory')
  did.away = false
  await until(() => place().next === 3)
  t.strictSame(did.sent, upTo(3))
})

test('one that lost the lease sends nothing that is recorded here', async (t) => {
  const { did, commit, recorded } = notifying(t)
  await until(() => did.asked > 0)
  commit()
  await until(() => did.sent.length === 1)
  did.leads = false
  await until(async () => {
    // What was under way when the lease went is sent.
    const { length } = did.sent
    commit()
    await new Promise((resolve) => setTimeout(resolve, 50))
    return did.sent.length === length
  })
  t.equal(recorded.all(0), undefined, 'nor keeps it')
  const { length } = did.sent
  did.leads = true
  await until(() => did.sent.length > length)
  t.strictSame(did.sent, upTo(did.sent.length), 'then all, in order')
})

test('one that is told to stop notes what it sent', async (t) => {
  const { did, commit, place, notifier } = notifying(t)
  await until(() => did.asked > 0)
  commit()
  await until(() => place().next === 1)
  commit()
  await until(() => did.sent.length === 2, { every: 1 })
  await notifier.stop()
  t.equal(place().next, 2)
})

test('where something is recorded all the time, it is noted all the same', async (t) => {
  const { did, commit, place } = notifying(t)
  await until(() => did.asked > 0)
  await until(
    () => {
      commit()
      return place().next > 0
    },
    { every: 2 },
  )
  const { next } = place()
  await until(
    () => {
      commit()
      return place().next > next
    },
    { every: 2 },
  )
  t.pass()
})

test('a partition is followed from the first look on', async (t) => {
  const { did, recorded } = notifying(t)
  await until(() => did.asked > 0)
  await until(() => recorded.all(0) !== undefined)
  t.strictSame(recorded.all(0), { next: 0, events: [] })
})

test('what is told and not found is not looked for again and again', async (t) => {
  const { did, news } = notifying(t)
  await until(() => did.asked > 0)
  const { asked } = did
  news.woken('0:100')
  await until(() => did.asked > asked)
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.ok(did.asked - asked < 5, `${did.asked - asked} times`)
})

test('what somebody else recorded does not wait while something is recorded here all the time', async (t) => {
  const { did, commit, news } = notifying(t)
  await until(() => did.asked > 0)
  did.slow = true
  const committing = setInterval(commit, 1)
  t.teardown(() => clearInterval(committing))
  await until(() => did.sent.length > 20)
  // Another partition, of a recorder elsewhere: only its place is told.
  const rounds: number[] = []
  for (let n = 1; n <= 5; n++) {
    const { asked, added } = did
    news.woken(`1:${n}`)
    await until(() => did.asked > asked, { every: 1 })
    rounds.push(did.added - added)
    await until(() => did.added > added + 3, { every: 1 })
  }
  t.ok(Math.max(...rounds) <= 4, `asked for after ${rounds.join(', ')} rounds of our own`)
})
