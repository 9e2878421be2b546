// Who goes over a batch with whom, and what is decoded.

import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createSharedPasses, type Seat } from '../../consumers/shared-pass.ts'
import type { LogRecord } from '../../kafka/log.ts'
import { event } from '../support/events.ts'

const MANY = 500
const recordsOf = (count: number): LogRecord[] =>
  Array.from({ length: count }, (_, offset) => ({
    partition: 0,
    offset,
    key: null,
    value: null,
    appendedAt: 0,
    transactional: false,
    headers: {},
  }))

function play(count = MANY) {
  const decoded: number[] = []
  const passes = createSharedPasses(({ offset }) => {
    decoded.push(offset)
    return offset === 7 ? undefined : event({ tenant: `t${offset}` })
  })
  const records = recordsOf(count)
  return { decoded, records, seat: () => passes.seat([...records]) }
}

const all = () => true

/** Goes, and tells what it took. */
function goes(seat: Seat, wants: (offset: number) => boolean = all) {
  const taken: number[] = []
  let over: unknown = 'not yet'
  const gone = seat
    .go({
      wants: ({ offset }) => wants(offset),
      take: ({ offset }, { tenant }) => {
        if (tenant !== `t${offset}`) throw new Error(`the event of ${tenant} at ${offset}`)
        taken.push(offset)
      },
    })
    .then(
      () => (over = 'all'),
      (error: unknown) => (over = error),
    )
  return { taken, gone, over: () => over }
}

t.test('P1: those who have a seat are waited for, and each record is decoded once', async (t) => {
  const { seat, decoded } = play()
  const [one, two] = [seat(), seat()]
  const first = goes(one)
  await turn()
  t.equal(first.over(), 'not yet')
  const second = goes(two, (offset) => offset >= 100)
  await Promise.all([first.gone, second.gone])
  t.strictSame([first.over(), second.over()], ['all', 'all'])
  t.equal(first.taken.length, MANY - 1, 'all but the unreadable one')
  t.strictSame(second.taken, first.taken.slice(99))
  t.equal(decoded.length, MANY)
})

t.test('P1: who leaves is not waited for; who comes late, or again, goes alone', async (t) => {
  const { seat, decoded } = play()
  const [one, two, three] = [seat(), seat(), seat()]
  const first = goes(one)
  two.leave()
  await turn()
  t.equal(first.over(), 'not yet', 'the third has a seat')
  await first.gone
  t.equal(first.over(), 'all', 'but is not waited for long')
  t.equal(decoded.length, MANY)
  const others = [goes(three), goes(one), goes(two)]
  await Promise.all(others.map(({ gone }) => gone))
  for (const { taken } of others) t.strictSame(taken, first.taken)
  t.equal(decoded.length, 4 * MANY)
})

t.test('few records, and other cuts of a batch, are gone over alone', async (t) => {
  const few = play(MANY - 1)
  const [one] = [few.seat(), few.seat()]
  await goes(one).gone
  t.equal(few.decoded.length, MANY - 1)

  const records = recordsOf(2 * MANY)
  const passes = createSharedPasses(() => event())
  const [long] = [passes.seat(records), passes.seat(records.slice(0, MANY))]
  const gone = await Promise.race([long.go({ wants: all, take: () => undefined }).then(() => 'at once'), turn('waited')])
  t.equal(gone, 'at once')
})

t.test('P2: one that throws is out, with its own error', async (t) => {
  const { seat } = play()
  const [one, two] = [seat(), seat()]
  const failing = one.go({
    wants: all,
    take: ({ offset }) => {
      if (offset === 3) throw new Error('cannot')
    },
  })
  const other = goes(two)
  await t.rejects(failing, { message: 'cannot' })
  await other.gone
  t.equal(other.taken.length, MANY - 1)
})

t.test('P3: a record that nobody wants is not decoded', async (t) => {
  const { seat, decoded } = play()
  const [one, two] = [seat(), seat()]
  await Promise.all([goes(one, (offset) => offset < 10).gone, goes(two, (offset) => offset < 12 && offset !== 5).gone])
  t.strictSame(decoded, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
})
