// REST over what the real recorder wrote into a real Postgres.

import t from 'tap'
import { createPgPool } from '../../postgres/pool.ts'
import { readEventsAfter } from '../../postgres/reads/events.ts'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { executionIdOf } from '../../workflow/ids.ts'
import { recordedApi } from '../support/recorded-api.ts'
import { useStack } from '../support/stack.ts'

const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const BIG = '{"big":9007199254740993,"fine":0.1234567890123456789}'

t.test('REST reads', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('numbers survive from the sender to history and state', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    await post('a', [`{"event_name":"x","execution_id":"${EXECUTION}","to_state":"s","payload":${BIG}}`])
    await record()
    t.match((await send('a', `/v1/executions/${EXECUTION}`)).body, `"data":${BIG}`)
    t.match((await send('a', `/v1/executions/${EXECUTION}/events`)).body, `"payload":${BIG}`)
  })

  t.test('a NUL in an address, and positions that the log does not have, are answered clearly', async (t) => {
    const { send } = await recordedApi(t, databaseUrl)
    for (const url of ['/v1/executions?key=%00', '/v1/executions?correlation_id=a%00b', '/v1/verdicts?reason=%00', '/v1/projections/%00'])
      t.match((await send('a', url)).json(), { status: 400, type: /request-invalid/, detail: /NUL/ }, url)
    t.match((await send('a', '/v1/events?after=p99:1')).json(), { status: 400, detail: /no partition p99; the log has p0 to p\d+/ })
    t.match((await send('a', '/v1/events?after=elsewhere')).json(), { status: 400, detail: /after: is not a position like p7:120345/ })
    t.match((await send('a', '/v1/events?after=p1:5,p1:7')).json(), { status: 400, detail: /after: names a partition twice/ })
    t.match((await send('a', '/v1/stream?after=p1:5,p1:7')).json(), { status: 400, detail: /after: names a partition twice/ })
    t.equal((await send('a', '/v1/events?after=')).statusCode, 200)
    t.match((await send('a', '/v1/events?nothing=1')).json(), { status: 400, detail: /^querystring: Unrecognized key/ })
  })

  t.test('an execution and its history are as sent and folded', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const made = { workflow_name: 'permit', business_key: 'case-1', correlation_id: 'g1' }
    const sent = await post('a', [
      { ...made, event_name: 'permit.received', to_state: 'received', created_at: '0099-12-31T23:59:59.999Z', payload: { a: 1, b: 1 } },
      { ...made, event_name: 'permit.checked', to_state: 'checked', user_id: 'u', payload: { b: 2 }, created_at: 1_700_000_000_123 },
    ])
    await record()
    const id = executionIdOf('tenant-a', 'permit', 'case-1')
    const [, second] = sent.json<{ outcomes: { position: string; event_id: string }[] }>().outcomes
    const answer = await send('a', `/v1/executions/${id}?minPosition=${String(sent.headers['refold-position'])}`)
    t.match(answer.json(), {
      executionId: id,
      tenant: 'tenant-a',
      status: 'running',
      currentState: 'checked',
      data: { a: 1, b: 2 },
      lastSeq: 2,
      workflow: 'permit',
      version: null,
      key: 'case-1',
      correlationId: 'g1',
      openedAt: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
      position: second?.position,
    })
    const history = await send('a', `/v1/executions/${id}/events`)
    t.match(history.json(), {
      next: null,
      events: [
        {
          seq: 1,
          event_name: 'permit.received',
          from_state: 'initial',
          to_state: 'received',
          created_at: '0099-12-31T23:59:59.999Z',
          user_id: null,
        },
        {
          seq: 2,
          event_id: second?.event_id,
          from_state: 'received',
          to_state: 'checked',
          created_at: '2023-11-14T22:13:20.123Z',
          user_id: 'u',
        },
      ],
    })
    t.match((await send('a', `/v1/executions/${id}/events?limit=1`)).json(), { next: 1, events: [{ seq: 1 }] })
    t.same((await send('a', `/v1/executions/${id}/events?after=2`)).json(), { events: [], next: null })
  })

  t.test('Prefer: wait brings each verdict', async (t) => {
    const { post, record } = await recordedApi(t, databaseUrl)
    const id = '33333333-3333-4333-8333-333333333333'
    const event = { event_name: 'x', execution_id: EXECUTION, event_id: id }
    await post('a', [event, { event_name: 'done', execution_id: EXECUTION, to_state: 'completed' }])
    const asked = post('a', [event, { ...event, to_state: 'other' }, { event_name: 'y', execution_id: EXECUTION }], { prefer: 'wait=60' })
    await new Promise(setImmediate)
    await record()
    await record()
    t.match((await asked).json(), {
      outcomes: [
        { verdict: 'duplicate', reason: 'same-content' },
        { verdict: 'conflict', reason: 'other-content', detail: String },
        { verdict: 'late', reason: 'ended' },
      ],
    })
    const other = { ...event, execution_id: '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a02' }
    const accepted = post('a', [other], { prefer: 'wait=60' })
    await new Promise(setImmediate)
    await record()
    t.match((await accepted).json(), { outcomes: [{ verdict: 'accepted', seq: 1 }] })
  })

  t.test('lists filter, page without gaps or repeats, newest first', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const events = Array.from({ length: 25 }, (_, n) => ({
      event_name: 'x',
      workflow_name: n % 5 === 0 ? 'rare' : 'often',
      business_key: `k${n}`,
      correlation_id: `g${n % 3}`,
      to_state: n % 2 === 0 ? 'even' : 'completed',
    }))
    await post('a', events)
    await record()
    type Page = { executions: { key: string; openedAt: string }[]; nextCursor: string | null }
    const list = async (query: string) => (await send('a', `/v1/executions?${query}`)).json<Page>()
    const keys = async (query: string) => (await list(query)).executions.map(({ key }) => key).toSorted()
    t.same(await keys('key=k7'), ['k7'])
    t.same(await keys('workflow=rare'), ['k0', 'k10', 'k15', 'k20', 'k5'])
    t.equal((await keys('state=even')).length, 13)
    t.equal((await keys('status=completed')).length, 12)
    t.same(await keys('workflow=rare&correlation_id=g0'), ['k0', 'k15'])
    t.same(await keys('since=2999-01-01T00:00:00Z'), [])
    t.equal((await keys('since=2020-01-01T00:00:00Z')).length, 25)
    const seen: Page['executions'] = []
    for (let cursor: string | null = ''; cursor !== null;) {
      const page: Page = await list(`limit=4${cursor === '' ? '' : `&cursor=${cursor}`}`)
      seen.push(...page.executions)
      cursor = page.nextCursor
    }
    t.same(seen.map(({ key }) => key).toSorted(), events.map(({ business_key: key }) => key).toSorted())
    const times = seen.map(({ openedAt }) => openedAt)
    t.same(times, times.toSorted().toReversed())
  })

  t.test('a tenant learns nothing of another', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const event = { event_name: 'x', execution_id: EXECUTION, business_key: 'secret', workflow_name: 'w', event_id: EXECUTION }
    const sent = await post('a', [event])
    await record()
    const unknown = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a09'
    for (const path of ['', '/events']) {
      const theirs = await send('b', `/v1/executions/${EXECUTION}${path}`)
      const nobodys = await send('b', `/v1/executions/${unknown}${path}`)
      t.equal(theirs.statusCode, 404)
      t.equal(theirs.body.replaceAll(EXECUTION, unknown), nobodys.body)
    }
    t.same((await send('b', '/v1/executions?key=secret')).json(), { executions: [], nextCursor: null })
    const mine = await post('b', [{ ...event, to_state: 'mine' }], { prefer: 'wait=0' })
    t.not(mine.headers['refold-position'], sent.headers['refold-position'])
    await record()
    t.match((await send('b', `/v1/executions/${EXECUTION}`)).json(), { lastSeq: 1, currentState: 'mine', tenant: 'tenant-b' })
    t.match((await send('a', `/v1/executions/${EXECUTION}`)).json(), { lastSeq: 1, currentState: 'initial', tenant: 'tenant-a' })
  })

  t.test('the role of the API sees no row without a tenant, and writes nothing with one', async (t) => {
    const { database, post, record } = await recordedApi(t, databaseUrl)
    await post('a', [{ event_name: 'x', execution_id: EXECUTION }])
    await record()
    const { api } = database
    for (const table of ['workflow_events', 'event_verdicts', 'workflow_executions', 'execution_heads'])
      t.same((await api.query(`SELECT count(*)::int AS n FROM refold.${table}`)).rows, [{ n: 0 }], table)
    await t.rejects(api.query('SELECT 1 FROM refold.action_claims'), { code: '42501' })
    const client = await api.connect()
    await client.query("BEGIN; SELECT set_config('refold.tenant', 'tenant-a', true)")
    t.same((await client.query('SELECT count(*)::int AS n FROM refold.workflow_events')).rows, [{ n: 1 }])
    await t.rejects(client.query('DELETE FROM refold.workflow_events'), { code: '42501' })
    await client.query('ROLLBACK')
    t.same(
      (await client.query('SELECT count(*)::int AS n FROM refold.workflow_events')).rows,
      [{ n: 0 }],
      'a tenant ends with its transaction',
    )
    client.release()
  })

  t.test('the role of the service can only add to record tables', async (t) => {
    const { database, post, record } = await recordedApi(t, databaseUrl)
    await post('a', [{ event_name: 'x', execution_id: EXECUTION }])
    await record()
    for (const table of ['workflow_events', 'event_verdicts', 'schemas', 'logs']) {
      await t.rejects(database.engine.query(`DELETE FROM refold.${table}`), { code: '42501' }, table)
      await t.rejects(database.engine.query(`TRUNCATE refold.${table}`), { code: '42501' }, table)
    }
    await t.rejects(database.engine.query("UPDATE refold.workflow_events SET tenant = 'x'"), { code: '42501' })
    await t.rejects(database.engine.query('DELETE FROM refold.execution_heads'), { code: '42501' })
  })

  t.test('a database that is away is said to be, and taken up again when it is back', async (t) => {
    const { database, post, record, send } = await recordedApi(t, databaseUrl)
    const outside = createPgPool(databaseUrl, { max: 1, name: 'test-outside' })
    t.teardown(() => outside.end())
    await post('a', [{ event_name: 'x', execution_id: EXECUTION }])
    await record()
    t.equal((await send('a', `/v1/executions/${EXECUTION}`)).statusCode, 200)
    const name = new URL(database.url).pathname.slice(1)
    await outside.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
    await outside.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name])
    const away = await send('a', `/v1/executions/${EXECUTION}`)
    t.equal(away.statusCode, 503)
    t.equal(away.headers['retry-after'], '5')
    t.match(away.json(), { type: 'urn:refold:problem:database-unavailable' })
    const sent = await post('a', [{ event_name: 'x', execution_id: EXECUTION }], { prefer: 'wait=5' })
    t.match(sent.json(), { appended: 1, outcomes: [{ verdict: 'pending' }] })
    await outside.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`)
    t.equal((await send('a', `/v1/executions/${EXECUTION}`)).statusCode, 200)
  })

  t.test('the state at every seq and time of the past is answered, to the last digit', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const base = { execution_id: EXECUTION, event_name: 'x' }
    await post('a', [
      `{"event_name":"x","execution_id":"${EXECUTION}","to_state":"one","created_at":"2024-01-01T00:00:00Z","payload":${BIG}}`,
      { ...base, to_state: 'two', created_at: '2024-01-03T00:00:00Z', payload: { n: 2 } },
      { ...base, to_state: 'completed', created_at: '2024-01-02T00:00:00Z' },
    ])
    await record()
    const state = async (query: string) => (await send('a', `/v1/executions/${EXECUTION}/state?${query}`)).json<{ seq: number }>()
    t.match(await state('seq=0'), { seq: 0, currentState: 'initial', isComplete: false })
    t.match(await state('seq=1'), { seq: 1, currentState: 'one', isComplete: false })
    t.match(await state('seq=2'), { seq: 2, currentState: 'two', data: { n: 2 } })
    t.match(await state(''), { seq: 3, status: 'completed', isComplete: true })
    t.match((await send('a', `/v1/executions/${EXECUTION}/state?seq=1`)).body, `"data":${BIG}`)
    t.match(await state('at=2023-12-31T23:59:59Z'), { seq: 0 })
    t.match(await state('at=2024-01-02T12:00:00Z'), { seq: 1 }, 'the longest prefix: the third happened before, but comes after')
    t.match(await state('at=2024-01-03T01:00:00%2B01:00'), { seq: 3 })
    t.match(await state('recordedAt=2024-01-03T01:00:00Z'), { seq: 0 })
    t.equal((await send('a', `/v1/executions/${EXECUTION}/state?seq=4`)).statusCode, 404)
    t.equal((await send('b', `/v1/executions/${EXECUTION}/state`)).statusCode, 404)
    t.match((await send('a', `/v1/executions/${EXECUTION}/state?seq=1&at=2024-01-03T00:00:00Z`)).json(), { status: 400, detail: /one of/ })
  })

  t.test('a receipt is pending, then tells what became of the event and of its repeats', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const event = { execution_id: EXECUTION, event_name: 'x', event_id: '33333333-3333-4333-8333-333333333333' }
    const sent = await post('a', [event])
    const location = String(sent.headers['location'])
    const position = String(sent.headers['refold-position'])
    t.match((await send('a', location)).json(), { verdict: 'pending', position, records: [] })
    await record()
    t.match((await send('a', location)).json(), { verdict: 'accepted', seq: 1, position, records: [{ position, seq: 1 }] })
    const repeat = await post('a', [event])
    await post('a', [{ ...event, to_state: 'other' }])
    await record()
    const repeated = String(repeat.headers['location'])
    t.match((await send('a', repeated)).json(), {
      verdict: 'duplicate',
      reason: 'same-content',
      records: [{ verdict: 'accepted' }, { verdict: 'duplicate' }, { verdict: 'conflict' }],
    })
    const bare = location.split('?')[0] ?? ''
    t.match((await send('a', bare)).json(), { verdict: 'accepted', seq: 1 })
    t.equal((await send('b', bare)).statusCode, 404)
    t.equal((await send('b', location)).statusCode, 404)
  })

  t.test('other content under an Idempotency-Key is refused once the first is recorded', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const key = { 'idempotency-key': 'k1' }
    const event = { execution_id: EXECUTION, event_name: 'x', payload: { n: 1 } }
    const first = await post('a', [event], key)
    const early = await post('a', [{ ...event, payload: { n: 2 } }], key)
    t.equal(early.statusCode, 202, 'the first is not recorded yet')
    await record()
    t.match((await send('a', String(early.headers['location']))).json(), { verdict: 'conflict', reason: 'other-content' })
    const again = await post('a', [event], key)
    t.equal(again.statusCode, 202)
    t.same(again.json().outcomes[0].event_id, first.json().outcomes[0].event_id)
    const other = await post('a', [{ ...event, payload: { n: 2 } }], key)
    t.equal(other.statusCode, 422)
    t.match(other.json(), { type: 'urn:refold:problem:idempotency-conflict' })
    t.equal((await post('b', [{ ...event, payload: { n: 2 } }], key)).statusCode, 202, 'keys belong to a tenant')
  })

  t.test('events are read on from any position, none twice, none left out', async (t) => {
    const { post, record, send } = await recordedApi(t, databaseUrl)
    const made = (n: number) => ({ event_name: 'x', workflow_name: 'w', business_key: `k${n % 9}`, payload: n })
    type Page = { events: { payload: number; position: string }[]; next: string; more: boolean }
    const seen: Page['events'] = []
    let after = ''
    const follow = async () => {
      for (let more = true; more;) {
        const page = (await send('a', `/v1/events?limit=8&after=${after}`)).json<Page>()
        seen.push(...page.events)
        after = page.next
        more = page.more
      }
    }
    await follow()
    t.same(seen, [])
    const numbers = (from: number, count: number) => Array.from({ length: count }, (_, n) => from + n)
    await post('a', numbers(0, 40).map(made))
    await post('b', numbers(500, 20).map(made))
    await record()
    await follow()
    await post('b', numbers(520, 20).map(made))
    await post('a', numbers(40, 30).map(made))
    await record()
    await follow()
    t.same(
      seen.map(({ payload }) => payload).toSorted((a, b) => a - b),
      numbers(0, 70),
    )
    const perPartition = Map.groupBy(seen, ({ position }) => position.split(':')[0])
    for (const events of perPartition.values()) {
      const offsets = events.map(({ position }) => Number(position.split(':')[1]))
      t.same(
        offsets,
        offsets.toSorted((a, b) => a - b),
      )
    }
    const before = seen.length
    await follow()
    t.equal(seen.length, before)
  })

  t.test('a page looks at a bounded stretch of the log: a tenant with few events gets past those of others', async (t) => {
    const { post, record, database } = await recordedApi(t, databaseUrl)
    const pool = createReadPool(database.url, { max: 1, name: 'test-bounded' })
    t.teardown(() => pool.close())
    const made = (n: number) => ({ event_name: 'x', workflow_name: 'w', business_key: `k${n % 9}`, payload: n })
    const numbers = Array.from({ length: 90 }, (_, n) => n)
    await post('a', numbers.slice(0, 10).map(made))
    await post('b', numbers.map(made))
    await post('a', numbers.slice(10, 20).map(made))
    await record()
    const seen: number[] = []
    let empty = 0
    let after: ReadonlyMap<number, number> = new Map()
    for (let more = true; more;) {
      const { value } = await readEventsAfter(pool, 'tenant-a', { after, limit: 100, lookAt: 16 })
      t.ok(value.rows.length <= 16)
      if (value.rows.length === 0) empty++
      seen.push(...value.rows.map(({ payload }) => Number(payload)))
      ;({ next: after, more } = value)
    }
    t.same(
      seen.toSorted((one, other) => one - other),
      numbers.slice(0, 20),
    )
    t.ok(empty > 0, 'some pages held events of others only')
  })

  t.test('records that were not accepted are listed: a tenant its own, an operator those of nobody too', async (t) => {
    const { post, record, send, foreign } = await recordedApi(t, databaseUrl)
    const event = { execution_id: EXECUTION, event_name: 'x', event_id: '33333333-3333-4333-8333-333333333333' }
    await post('a', [event, event, event, { ...event, to_state: 'other' }])
    await post('b', [event, event])
    const garbage = foreign({ partition: 0, key: EXECUTION, value: new Uint8Array([1, 2, 3]) })
    await record()
    type Page = { verdicts: { verdict: string; position: string; tenant: string | null; reason: string }[]; nextCursor: string | null }
    const list = async (as: 'a' | 'b', query = '') => (await send(as, `/v1/verdicts?${query}`)).json<Page>()
    t.same(
      (await list('b')).verdicts.map(({ verdict }) => verdict),
      ['duplicate'],
    )
    const all = (await list('a')).verdicts
    t.same(all.map(({ verdict }) => verdict).toSorted(), ['conflict', 'duplicate', 'duplicate', 'quarantined'])
    t.match(
      all.find(({ verdict }) => verdict === 'quarantined'),
      { position: garbage, tenant: null, reason: 'undecodable' },
    )
    t.equal((await list('a', 'verdict=duplicate')).verdicts.length, 2)
    t.equal((await list('a', 'reason=other-content')).verdicts.length, 1)
    t.equal((await list('a', `execution_id=${EXECUTION}`)).verdicts.length, 3)
    const first = await list('a', 'limit=3')
    const second = await list('a', `limit=3&cursor=${first.nextCursor}`)
    t.same([...first.verdicts, ...second.verdicts], all)
    t.equal(second.nextCursor, null)
  })
})
