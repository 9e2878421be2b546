import t from 'tap'
import { createMapper, type Mapped } from '../../../cli/import/item.ts'
import { checkColumns, parseMap } from '../../../cli/import/map.ts'
import { near } from '../../../cli/import/near.ts'
import { readTime } from '../../../cli/import/time.ts'
import { RefoldError } from '../../../errors.ts'

const BASE = {
  workflow_name: 'permit',
  business_key: { column: 'case' },
  event_name: 'permit.moved',
  created_at: { column: 'at' },
}

const mapOf = (extra: object = {}) => parseMap(JSON.stringify({ ...BASE, ...extra }))
const detailOf = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    if (error instanceof RefoldError && error.code === 'map-invalid') return error.detail
    throw error
  }
  return 'nothing was thrown'
}
const itemOf = (mapped: Mapped) => ('json' in mapped ? (JSON.parse(mapped.json) as Record<string, unknown>) : mapped)
const ROW = { case: 'c1', at: '2011-10-11 13:45:40.276000+02:00', who: 'Ann', sum: '9007199254740993', note: '' }

t.test('a wrong map is refused with the key that is wrong', async (t) => {
  t.match(
    detailOf(() => parseMap('{"a": ')),
    /it is not JSON/,
  )
  t.match(
    detailOf(() => mapOf({ to_stat: 'x' })),
    /there is no key "to_stat" \(did you mean "to_state"/,
  )
  t.match(
    detailOf(() => mapOf({ to_state: { colum: 'x' } })),
    /to_state: there is no key "colum"/,
  )
  t.match(
    detailOf(() => mapOf({ event_name: undefined })),
    /^event_name: /,
  )
  t.match(
    detailOf(() => mapOf({ payload: { sum: { column: 'sum', type: 'integer' } } })),
    /^payload\.sum\.type: .*"number"/,
  )
  t.match(
    detailOf(() => mapOf({ payload: 'all' })),
    /^payload: expected "others"/,
  )
  t.match(
    detailOf(() => mapOf({ created_at: { column: 'at', zone: 'CET' } })),
    /^created_at\.zone: expected "Z"/,
  )
  t.match(
    detailOf(() => mapOf({ to_state: { template: 'plain' } })),
    /^to_state: the template names no/,
  )
})

t.test('an execution is named by workflow and key or by id, not by both or neither', async (t) => {
  t.match(
    detailOf(() => mapOf({ execution_id: { column: 'id' } })),
    /^execution_id: expected either/,
  )
  t.match(
    detailOf(() => mapOf({ business_key: undefined })),
    /^business_key: expected either/,
  )
  t.doesNotThrow(() => mapOf({ workflow_name: undefined, business_key: undefined, execution_id: { column: 'id' } }))
})

t.test('a column the file does not have is named, with near ones', async (t) => {
  const map = mapOf({ user_id: { column: 'resorce' }, payload: ['channel', 'grup'] })
  const detail = detailOf(() => checkColumns(map, ['case', 'at', 'resource', 'channel', 'group']))
  t.match(detail, 'user_id: the file has no column "resorce" (did you mean "resource"?)')
  t.match(detail, 'payload.1: the file has no column "grup" (did you mean "group"?)')
  t.notMatch(detail, /case"|channel"/)
})

t.test('near names are near, nearest first, at most three', async (t) => {
  t.same(near('Grup', ['group', 'grups', 'org_group', 'case']), ['group', 'grups'])
  t.same(near('zzzzzz', ['group']), [])
  t.equal(near('ab', ['aa', 'ac', 'ad', 'ae']).length, 3)
})

t.test('constants, columns and templates become fields', async (t) => {
  const map = mapOf({
    event_name: { template: 'permit.{who}' },
    to_state: { column: 'who' },
    idempotency_key: { template: '{case}/{at}' },
    payload: { by: { column: 'who' }, from: 'file', of: 3 },
  })
  t.same(itemOf(createMapper(map)(ROW)), {
    workflow_name: 'permit',
    business_key: 'c1',
    event_name: 'permit.Ann',
    to_state: 'Ann',
    idempotency_key: 'c1/2011-10-11 13:45:40.276000+02:00',
    created_at: 1318333540276,
    payload: { by: 'Ann', from: 'file', of: 3 },
  })
})

t.test('empty cells are left out of the payload and of optional fields', async (t) => {
  const map = mapOf({ idempotency_key: 'k', user_id: { column: 'note' }, payload: ['note', 'who'], empty: ['Ann'] })
  const item = itemOf(createMapper(map)(ROW))
  t.same((item as { payload: object }).payload, {})
  t.notOk('user_id' in item)
})

t.test('numbers keep every digit, typed cells are checked', async (t) => {
  const map = mapOf({ payload: { sum: { column: 'sum', type: 'number' } } })
  const mapped = createMapper(map)(ROW)
  t.match('json' in mapped && mapped.json, '"payload":{"sum":9007199254740993}')
  t.match(createMapper(map)({ ...ROW, sum: '1,5' }), { fault: 'column "sum": "1,5" is not a number' })
  const flags = mapOf({ payload: { yes: { column: 'who', type: 'boolean' } } })
  t.match(createMapper(flags)(ROW), { fault: /not true or false/ })
  const json = mapOf({ payload: { data: { column: 'who', type: 'json' } } })
  t.match(createMapper(json)(ROW), { fault: /not JSON/ })
  const exact = createMapper(json)({ ...ROW, who: '{"a":0.1234567890123456789}' })
  t.match('json' in exact && exact.json, '{"data":{"a":0.1234567890123456789}}')
})

t.test('"others" takes the columns named nowhere else, whatever their order', async (t) => {
  const map = mapOf({ idempotency_key: 'k', payload: 'others' })
  const one = createMapper(map)(ROW)
  const other = createMapper(map)(Object.fromEntries(Object.entries(ROW).toReversed()))
  t.same((itemOf(one) as { payload: object }).payload, { sum: '9007199254740993', who: 'Ann' })
  t.same(one, other)
})

t.test('a row without a needed field is refused with the field', async (t) => {
  t.match(createMapper(mapOf())({ ...ROW, case: '' }), { fault: 'business_key is empty' })
  t.match(createMapper(mapOf())({ ...ROW, at: 'yesterday' }), { fault: /^created_at: "yesterday" is not a time/ })
})

t.test('without a key, equal rows are told apart by their occurrence, and get the same keys again', async (t) => {
  const keys = () => {
    const toItem = createMapper(mapOf())
    return [ROW, ROW, { ...ROW, note: 'x' }, ROW].map((row) => (itemOf(toItem(row)) as { idempotency_key: string }).idempotency_key)
  }
  t.equal(new Set(keys()).size, 4)
  t.same(keys(), keys())
})

t.test('times: zones, microseconds, epochs; what is no time is refused', async (t) => {
  const iso = { column: 'at', format: 'iso' } as const
  const same = { ms: 1318333540276 }
  t.same(readTime('2011-10-11 13:45:40.276999+02:00', iso), same)
  t.same(readTime('2011-10-11T11:45:40.276Z', iso), same)
  t.same(readTime('2011-10-11T13:45:40,276+0200', iso), same)
  t.same(readTime('2011-10-11 13:45:40.276', { ...iso, zone: '+02:00' }), same)
  t.same(readTime('2011-10-11', { ...iso, zone: 'Z' }), { ms: Date.UTC(2011, 9, 11) })
  t.match(readTime('2011-10-11 13:45:40', iso), { fault: /names no zone/ })
  t.match(readTime('2011-02-30T00:00:00Z', iso), { fault: /not a day/ })
  t.match(readTime('2011-02-03T25:00:00Z', iso), { fault: /not a time of the day/ })
  t.same(readTime('1318333540', { column: 'at', format: 'epoch-s' }), { ms: 1318333540000 })
  t.same(readTime('1318333540276', { column: 'at', format: 'epoch-ms' }), same)
  t.match(readTime('', { column: 'at', format: 'epoch-ms' }), { fault: /not a number/ })
})
