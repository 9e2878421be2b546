import t from 'tap'
import type { EventRow } from '../../postgres/reads/events.ts'
import type { ExecutionFilter, ExecutionRow } from '../../postgres/reads/executions.ts'
import { RefoldError } from '../../errors.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { fakeApi, PARTITIONS, TENANT } from '../support/fake-api.ts'
import { until } from '../support/wait.ts'

const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const PARTITION = partitionOf(EXECUTION, PARTITIONS)
const DATA = '{"big": 9007199254740993, "fine":0.1234567890123456789}'

const row: ExecutionRow = {
  execution_id: EXECUTION,
  tenant: TENANT,
  partition: PARTITION,
  status: 'running',
  current_state: 'placed',
  data: DATA,
  last_seq: '3',
  last_offset: '120345',
  workflow_name: 'order',
  workflow_version: null,
  business_key: 'o-1',
  correlation_id: null,
  result: null,
  error: null,
  opened_at: '2024-05-01T12:00:00.000Z',
  changed_at: '2024-05-01T12:00:01.000Z',
}

const event = (seq: number, payload: string | null): EventRow => ({
  event_id: '33333333-3333-4333-8333-333333333333',
  tenant: TENANT,
  execution_id: EXECUTION,
  event_name: 'order.placed',
  event_type: 'workflow',
  from_state: 'initial',
  to_state: 'placed',
  sent_from_state: '',
  sent_to_state: null,
  user_id: null,
  payload,
  created_at: '2024-05-01T12:00:00.000Z',
  causation_id: null,
  correlation_id: null,
  workflow_name: null,
  business_key: null,
  decision: 0,
  seq: String(seq),
  partition: PARTITION,
  log_offset: String(100 + seq),
  appended_at: '2024-05-01T12:00:00.000Z',
})

t.test('an execution is answered with its data as stored, to the last digit', async (t) => {
  const api = await fakeApi(t)
  api.reads = {
    ...api.reads,
    execution: async (tenant, id, partition) => {
      t.same([tenant, id, partition], [TENANT, EXECUTION, PARTITION])
      return { value: row, checkpoints: new Map([[PARTITION, 120346]]) }
    },
  }
  const answer = await api.send(`/v1/executions/${EXECUTION.toUpperCase()}`)
  t.equal(answer.statusCode, 200)
  t.match(answer.headers['content-type'], /^application\/json/)
  t.equal(answer.headers['refold-watermark'], `p${PARTITION}:120346`)
  t.ok(answer.body.includes(`"data":${DATA}`))
  t.same(answer.json(), {
    executionId: EXECUTION,
    tenant: TENANT,
    status: 'running',
    currentState: 'placed',
    data: JSON.parse(DATA) as unknown,
    lastSeq: 3,
    workflow: 'order',
    version: null,
    key: 'o-1',
    correlationId: null,
    result: null,
    error: null,
    openedAt: '2024-05-01T12:00:00.000Z',
    changedAt: '2024-05-01T12:00:01.000Z',
    position: `p${PARTITION}:120345`,
  })
})

t.test('an execution that is not there is 404, an id that is none 400', async (t) => {
  const api = await fakeApi(t)
  for (const url of [`/v1/executions/${EXECUTION}`, `/v1/executions/${EXECUTION}/events`]) {
    const answer = await api.send(url)
    t.equal(answer.statusCode, 404)
    t.match(answer.json(), { type: 'urn:refold:problem:not-found', detail: `no execution ${EXECUTION}` })
    const bad = await api.send(url.replace(EXECUTION, 'nope'))
    t.equal(bad.statusCode, 400)
    t.match(bad.json(), { type: 'urn:refold:problem:request-invalid', errors: [{ path: '/executionId', message: 'is not a UUID' }] })
  }
})

t.test('history comes in pages', async (t) => {
  const api = await fakeApi(t)
  api.reads = {
    ...api.reads,
    history: async (_tenant, _id, _partition, { after, limit }) => {
      const all = [event(1, DATA), event(2, null), event(3, '"x"')].filter(({ seq }) => Number(seq) > after)
      return { value: all.slice(0, limit), checkpoints: api.checkpoints }
    },
  }
  const first = await api.send(`/v1/executions/${EXECUTION}/events?limit=2`)
  t.ok(first.body.includes(`"payload":${DATA}`))
  t.match(first.json(), {
    next: 2,
    events: [
      { seq: 1, position: `p${PARTITION}:101`, decision: 0 },
      { seq: 2, payload: null },
    ],
  })
  t.same((await api.send(`/v1/executions/${EXECUTION}/events?limit=2&after=2`)).json().next, null)
  t.same((await api.send(`/v1/executions/${EXECUTION}/events?after=3`)).json(), { events: [], next: null })
})

t.test('executions are listed by filter and cursor', async (t) => {
  const api = await fakeApi(t)
  const asked: ExecutionFilter[] = []
  const next = { openedAt: '1714564800000000', executionId: EXECUTION }
  api.reads = {
    ...api.reads,
    executions: async (_tenant, filter) => {
      asked.push(filter)
      return { value: filter.after ? { rows: [] } : { rows: [row], next }, checkpoints: api.checkpoints }
    },
  }
  const query = 'key=o-1&workflow=order&state=placed&status=running&correlation_id=g&since=2024-05-01T00:00:00%2B02:00'
  const first = await api.send(`/v1/executions?${query}`)
  t.match(asked[0], {
    key: 'o-1',
    workflow: 'order',
    state: 'placed',
    status: 'running',
    correlationId: 'g',
    limit: 50,
    since: '2024-05-01T00:00:00+02:00',
  })
  t.match(first.json(), { executions: [{ executionId: EXECUTION, data: { fine: Number } }], nextCursor: String })
  const second = await api.send(`/v1/executions?limit=2&cursor=${first.json().nextCursor}`)
  t.same(asked[1]?.after, next)
  t.same(second.json(), { executions: [], nextCursor: null })
  t.match(second.headers['refold-watermark'], /^p0:0,p1:0,/)
})

t.test('a query that is not understood is refused by name', async (t) => {
  const api = await fakeApi(t)
  const cases: [string, RegExp][] = [
    ['stat=x', /stat/],
    ['status=done', /status/],
    ['limit=0', /limit/],
    ['limit=501', /limit/],
    ['since=yesterday', /since/],
    ['cursor=abc', /cursor/],
    ['cursor=e30', /cursor/],
    ['minPosition=7', /minPosition/],
    ['minPosition=p99:1', /no partition p99/],
  ]
  for (const [query, detail] of cases) {
    const answer = await api.send(`/v1/executions?${query}`)
    t.equal(answer.statusCode, 400, query)
    t.match(answer.json(), { type: 'urn:refold:problem:request-invalid', detail })
  }
})

t.test('minPosition: 412 with the gap when the recorder is behind', async (t) => {
  const api = await fakeApi(t)
  api.checkpoints.set(3, 10)
  const answer = await api.send('/v1/executions?minPosition=p3:9,p4:5')
  t.equal(answer.statusCode, 412)
  t.equal(answer.headers['retry-after'], '1')
  t.match(answer.json(), {
    type: 'urn:refold:problem:position-not-reached',
    retryable: true,
    gap: [{ partition: 4, asked: 5, checkpoint: 0, behind: 6 }],
  })
  api.checkpoints.set(4, 6)
  t.equal((await api.send('/v1/executions?minPosition=p3:9,p4:5')).statusCode, 200)
})

t.test('minPosition with Prefer: wait is answered as soon as the recorder is there', async (t) => {
  const api = await fakeApi(t)
  let polls = 0
  const { checkpoints } = api.reads
  api.reads = {
    ...api.reads,
    checkpoints: () => (polls++, checkpoints()),
    execution: async () => ({ value: row, checkpoints: api.checkpoints }),
  }
  const asked = api.send({ url: `/v1/executions/${EXECUTION}?minPosition=p${PARTITION}:7`, headers: { prefer: 'wait=60' } })
  await until(() => polls > 1)
  api.checkpoints.set(PARTITION, 8)
  const answer = await asked
  t.equal(answer.statusCode, 200)
  t.equal(answer.headers['preference-applied'], 'wait=60')
  const late = await api.send({ url: `/v1/executions?minPosition=p${PARTITION}:8`, headers: { prefer: 'wait=0' } })
  t.equal(late.statusCode, 412)
})

t.test('many who wait share one poll', async (t) => {
  const api = await fakeApi(t)
  let running = 0
  let most = 0
  const { checkpoints } = api.reads
  api.reads = {
    ...api.reads,
    checkpoints: async () => {
      most = Math.max(most, ++running)
      await new Promise(setImmediate)
      running--
      return checkpoints()
    },
  }
  const asked = Array.from({ length: 50 }, () => api.send({ url: '/v1/executions?minPosition=p1:1', headers: { prefer: 'wait=60' } }))
  await until(() => most > 0)
  api.checkpoints.set(1, 2)
  for (const answer of await Promise.all(asked)) t.equal(answer.statusCode, 200)
  t.equal(most, 1)
})

t.test('closing the API ends the waits', async (t) => {
  const api = await fakeApi(t)
  const asked = api.send({ url: '/v1/executions?minPosition=p1:1', headers: { prefer: 'wait=60' } })
  await new Promise(setImmediate)
  await api.app.close()
  t.equal((await asked).statusCode, 412)
})

t.test('while the database is away reads say so', async (t) => {
  const api = await fakeApi(t)
  const away = async () => Promise.reject(new RefoldError('database-unavailable', 'connect ECONNREFUSED'))
  api.reads = {
    ...api.reads,
    checkpoints: away,
    execution: away,
    executions: away,
    history: away,
    state: away,
    receipt: away,
    eventsAfter: away,
    refusals: away,
  }
  const one = `/v1/executions/${EXECUTION}`
  const urls = [one, `${one}/events`, `${one}/state`, `${one}/receipts/${EXECUTION}`, '/v1/executions', '/v1/events', '/v1/verdicts']
  for (const url of [...urls, '/v1/executions?minPosition=p1:1']) {
    const answer = await api.send(url)
    t.equal(answer.statusCode, 503, url)
    t.equal(answer.headers['retry-after'], '5')
    t.match(answer.json(), { type: 'urn:refold:problem:database-unavailable' })
  }
})

t.test('a mistake of ours leaks nothing', async (t) => {
  const api = await fakeApi(t)
  api.reads = { ...api.reads, executions: async () => Promise.reject(new Error('secret')) }
  const answer = await api.send('/v1/executions')
  t.equal(answer.statusCode, 500)
  t.match(answer.json(), { type: 'urn:refold:problem:internal' })
  t.notMatch(answer.body, /secret/)
})

t.test('lag is what the log holds beyond the checkpoints read, and left out when the log is away', async (t) => {
  const ends = new Map(Array.from({ length: PARTITIONS }, (_, partition) => [partition, 10]))
  const api = await fakeApi(t, { logEnds: async () => ends })
  api.reads = { ...api.reads, execution: async () => ({ value: row, checkpoints: new Map([[PARTITION, 4]]) }) }
  const lag = async () => (await api.send(`/v1/executions/${EXECUTION}`)).headers['refold-lag']
  await until(lag)
  t.equal(await lag(), '6')
  const away = await fakeApi(t, { logEnds: async () => Promise.reject(new RefoldError('log-unavailable', 'no broker')) })
  await away.send('/v1/executions')
  const answer = await away.send('/v1/executions')
  t.equal(answer.statusCode, 200)
  t.notOk('refold-lag' in answer.headers)
})

t.test('health: live, and ready only when each part is', async (t) => {
  const api = await fakeApi(t)
  t.same((await api.app.inject('/livez')).json(), { status: 'live' })
  t.same((await api.app.inject('/readyz')).json(), { status: 'ready', parts: { log: { ready: true } } })
  api.parts.push({ name: 'recorder', ready: false, detail: 'stuck at p3:17' })
  const answer = await api.app.inject('/readyz')
  t.equal(answer.statusCode, 503)
  t.same(answer.json(), { status: 'not-ready', parts: { log: { ready: true }, recorder: { ready: false, detail: 'stuck at p3:17' } } })
})

t.test('a route that is not there is a problem too', async (t) => {
  const api = await fakeApi(t)
  const answer = await api.send('/v2/nothing?token=x')
  t.equal(answer.statusCode, 404)
  t.match(answer.json(), { type: 'urn:refold:problem:not-found', detail: 'no route GET /v2/nothing; /openapi.json lists all' })
  t.equal((await api.send('/v1/%E0%A4%A')).statusCode, 400)
})

t.test('a path with another method says which it has', async (t) => {
  const api = await fakeApi(t)
  const answer = await api.app.inject({ method: 'DELETE', url: '/v1/executions/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01?x=1' })
  t.equal(answer.statusCode, 405)
  t.equal(answer.headers.allow, 'GET, HEAD')
  t.match(answer.json(), {
    type: 'urn:refold:problem:method-not-allowed',
    detail: '/v1/executions/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01 has no DELETE; it has GET, HEAD',
  })
  const several = await api.app.inject({ method: 'PATCH', url: '/v1/events' })
  t.equal(several.headers.allow, 'GET, HEAD, POST')
})

t.test('/metrics is what the owner of the process gives, and requests are told to it by route', async (t) => {
  const told: object[] = []
  const metrics = { contentType: 'text/plain; version=0.0.4', metrics: async () => 'refold_x 1\n' }
  const api = await fakeApi(t, { metrics, answered: (facts) => told.push(facts) })
  await api.send(`/v1/executions/${EXECUTION}`)
  const answer = await api.app.inject('/metrics')
  t.equal(answer.body, 'refold_x 1\n')
  t.match(answer.headers['content-type'], /^text\/plain; version=0\.0\.4/)
  await until(() => told.length === 2)
  t.match(told[0], { method: 'GET', route: '/v1/executions/:executionId', status: 404, ms: Number })
  const without = await fakeApi(t)
  t.equal((await without.app.inject('/metrics')).statusCode, 404)
})
