// The fold in memory: what is read back, what is not, and which keys are one row.

import t from 'tap'
import { applyFold as apply, type Memory, memoryFrom, Thrown, trim } from '../../consumers/projector-memory.ts'
import type { StoredRow } from '../../consumers/projection-port.ts'
import { defineProjection, type PlainRow } from '../../projections/define.ts'
import { ProjectionEvent } from '../../projections/event.ts'
import { event } from '../support/events.ts'

const hours = defineProjection({
  name: 'hours',
  version: 1,
  columns: { hour: 'timestamptz', kind: 'text', events: 'bigint' },
  key: ['hour', 'kind'],
  keys: ({ name, toState }) => (name === 'passed.over' ? [] : [{ hour: toState, kind: name }]),
  initial: (key) => ({ ...key, events: 0 }),
  evolve: (row, { name }) => {
    if (name === 'bad') throw new Error('cannot')
    return name === 'gone' ? null : { ...row, events: (row.events ?? 0) + 1 }
  },
})

const HOUR = '2026-01-01T10:00:00.000Z'
const at = (offset: number, hour = HOUR, name = 'a') =>
  new ProjectionEvent(event({ tenant: 't', event_name: name, to_state: hour }), { partition: 0, offset, appendedAt: 0 })

/** A table that counts how many keys it was asked for. */
function table(rows: StoredRow[] = []) {
  const asked: PlainRow[] = []
  return {
    asked,
    read: async (keys: readonly { tenant: string; key: PlainRow }[]) => {
      asked.push(...keys.map(({ key }) => key))
      return rows
    },
  }
}

const applyFold = (
  one: typeof hours,
  partition: number,
  memory: Memory,
  events: readonly ProjectionEvent[],
  rows: ReturnType<typeof table>,
) => apply(one, partition, memory, async (take) => events.forEach((each) => take(each)), rows)

t.test('from the first offset on nothing is read back; later each key once', async (t) => {
  const first = memoryFrom(0)
  const empty = table()
  const changes = await applyFold(hours, 0, first, [at(0), at(1), at(2, HOUR, 'b'), at(3, HOUR, 'passed.over')], empty)
  t.strictSame(
    changes.map(({ row, offset }) => [row?.['kind'], row?.['events'], offset]),
    [
      ['a', 2, 1],
      ['b', 1, 2],
    ],
  )
  t.equal((await applyFold(hours, 0, first, [at(4, HOUR, 'c')], empty)).length, 1, 'only what changed')
  t.strictSame(empty.asked, [])

  const later = memoryFrom(7)
  const full = table([{ partition: 0, tenant: 't', row: { hour: HOUR, kind: 'a', events: 40 } }])
  t.match(await applyFold(hours, 0, later, [at(7), at(8)], full), [{ row: { events: 42 }, offset: 8 }])
  t.match(await applyFold(hours, 0, later, [at(9)], full), [{ row: { events: 43 } }])
  t.equal(full.asked.length, 1)
})

t.test('what was forgotten is read back, also where all was known once', async (t) => {
  const memory = memoryFrom(0)
  const stored = table([{ partition: 0, tenant: 't', row: { hour: HOUR, kind: 'a', events: 1 } }])
  await applyFold(hours, 0, memory, [at(0), at(1, HOUR, 'b')], stored)
  trim(memory, 1)
  t.match(await applyFold(hours, 0, memory, [at(2)], stored), [{ row: { events: 2 } }])
  t.equal(stored.asked.length, 1)
})

t.test('two spellings of a time are one row, as in Postgres', async (t) => {
  const changes = await applyFold(
    hours,
    0,
    memoryFrom(0),
    [at(0), at(1, '2026-01-01T10:00:00Z'), at(2, '2026-01-01T12:00:00+02:00')],
    table(),
  )
  t.match(changes, [{ row: { events: 3 } }])
  t.equal(changes.length, 1)
  const stored = table([{ partition: 0, tenant: 't', row: { hour: HOUR, kind: 'a', events: 5 } }])
  t.match(
    await applyFold(hours, 0, memoryFrom(3), [at(3, '2026-01-01T10:00:00Z')], stored),
    [{ row: { events: 6 } }],
    'and found when read back',
  )
})

t.test('a row that evolve removes is told so; one that throws is told with its event', async (t) => {
  const memory = memoryFrom(0)
  t.match(await applyFold(hours, 0, memory, [at(0, HOUR, 'gone')], table()), [{ row: null, offset: 0 }])
  const thrownBy = async (from: number, events: ProjectionEvent[]) => {
    const error = await applyFold(hours, 0, memoryFrom(from), events, table()).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    return error instanceof Thrown ? [error.message, error.event.offset] : error
  }
  for (const from of [0, 5]) t.strictSame(await thrownBy(from, [at(5), at(6, HOUR, 'bad'), at(7)]), ['cannot', 6])
  t.strictSame(await thrownBy(0, [at(3, 'no time')]), ['Invalid time value', 3], 'a key that is none is its event’s fault')
})
