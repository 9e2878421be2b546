import { connect } from 'node:net'
import t from 'tap'
import type { Reads } from '../../api/ports.ts'
import { RefoldError } from '../../errors.ts'
import { eventIdOf, executionIdOf } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { until } from '../support/wait.ts'
import { fakeApi, OTHER_TENANT, OTHER_TOKEN, PARTITIONS, TENANT, TOKEN } from '../support/fake-api.ts'

const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const item = (changes: object = {}) => ({ event_name: 'order.placed', execution_id: EXECUTION, ...changes })
const post = (items: unknown, headers = {}) => ({
  method: 'POST' as const,
  url: '/v1/events',
  headers: { 'content-type': 'application/json', ...headers },
  payload: typeof items === 'string' ? items : JSON.stringify(items),
})
const ndjson = (payload: string) => ({
  method: 'POST' as const,
  url: '/v1/events',
  headers: { 'content-type': 'application/x-ndjson' },
  payload,
})

t.test('an event given whole reaches the log as it was given', async (t) => {
  const api = await fakeApi(t)
  const given = {
    event_id: '33333333-3333-4333-8333-333333333333',
    execution_id: EXECUTION.toUpperCase(),
    event_name: 'order.approved',
    event_type: 'order',
    from_state: 'placed',
    to_state: 'approved',
    user_id: 'u1',
    created_at: '2024-05-01T12:00:00.250+02:00',
    causation_id: 'c1',
    correlation_id: 'g1',
    workflow_name: 'order',
    business_key: 'o-1',
    payload: { a: 1 },
  }
  const answer = await api.send(post([given]))
  t.equal(answer.statusCode, 202)
  const position = `p${partitionOf(EXECUTION, PARTITIONS)}:0`
  t.equal(answer.headers['refold-position'], position)
  t.same(answer.json(), {
    appended: 1,
    refused: 0,
    unknown: 0,
    position,
    outcomes: [{ status: 'appended', event_id: given.event_id, execution_id: EXECUTION, position, verdict: 'pending' }],
  })
  t.same(api.appended[0]?.event, {
    ...given,
    tenant: TENANT,
    execution_id: EXECUTION,
    created_at: Date.parse(given.created_at),
    payload: '{"a":1}',
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  })
})

t.test('the text of a payload survives byte for byte, in arrays and in lines', async (t) => {
  const api = await fakeApi(t)
  const payloads = [
    '{"big": 9007199254740993, "fine":0.1234567890123456789, "huge":1e400, "neg":-0, "esc":"\\u00e9\\/","e":"é"}',
    '9007199254740993',
    '"text"',
    'null',
    '[1.0,  2]',
    '{"nested":{"payload":[{"a":"]}"}]},"a":1,"a":2}',
  ]
  const texts = payloads.map((payload) => `{"event_name":"x","execution_id":"${EXECUTION}","payload": ${payload} , "to_state":"s"}`)
  await api.send(post(`[${texts.join(' , ')}]`))
  await api.send(ndjson(texts.join('\n')))
  t.same(
    api.appended.map(({ event }) => event.payload),
    [...payloads, ...payloads],
  )
  t.ok(api.appended.every(({ event }) => event.to_state === 's'))
})

t.test('an event without a payload has none', async (t) => {
  const api = await fakeApi(t)
  await api.send(post([item()]))
  t.equal(api.appended[0]?.event.payload, null)
})

t.test('an execution may be named by workflow and business key', async (t) => {
  const api = await fakeApi(t)
  const answer = await api.send(post([{ event_name: 'x', workflow_name: 'permit', business_key: 'case-1' }]))
  t.equal(answer.json().outcomes[0].execution_id, executionIdOf(TENANT, 'permit', 'case-1'))
  t.match(api.appended[0]?.event, { workflow_name: 'permit', business_key: 'case-1' })
})

t.test('the same idempotency key gives the same ids again', async (t) => {
  const api = await fakeApi(t)
  const ids = async (headers: object, items: object[]) =>
    (await api.send(post(items, headers))).json<{ outcomes: { event_id: string }[] }>().outcomes.map(({ event_id }) => event_id)
  const first = await ids({ 'idempotency-key': 'k1' }, [item(), item()])
  t.same(first, [eventIdOf(TENANT, EXECUTION, 'k1', 0), eventIdOf(TENANT, EXECUTION, 'k1', 1)])
  t.same(await ids({ 'idempotency-key': 'k1' }, [item(), item()]), first)
  t.same(await ids({ 'idempotency-key': 'k1' }, [item({ idempotency_key: 'own' })]), [eventIdOf(TENANT, EXECUTION, 'own', 0)])
  t.notSame(await ids({}, [item()]), await ids({}, [item()]))
})

t.test('each item has its own outcome, in the order given', async (t) => {
  const api = await fakeApi(t)
  const cases: [unknown, string, RegExp][] = [
    [item({ event_name: 'workflow.started' }), 'name-reserved', /workflow\.started/],
    [item({ event_name: 'timer.x' }), 'name-reserved', /timer\.x/],
    [item({ sate: 'x', other: 1 }), 'event-invalid', /sate: unknown field; other: unknown field/],
    [item({ decision: 1 }), 'event-invalid', /decision: unknown field/],
    [item({ tenant: OTHER_TENANT }), 'event-invalid', /tenant: unknown field/],
    [{ event_name: 'x' }, 'event-invalid', /needs execution_id, or workflow_name and business_key/],
    [{ event_name: 'x', workflow_name: 'w' }, 'event-invalid', /needs execution_id/],
    [item({ event_name: '' }), 'event-invalid', /event_name is empty/],
    [item({ event_name: 7 }), 'event-invalid', /event_name/],
    [item({ execution_id: 'nope' }), 'event-invalid', /execution_id: is not a UUID/],
    [item({ event_id: '33333333-3333-8333-8333-333333333333' }), 'event-invalid', /version 8/],
    [item({ created_at: '2024-02-30T00:00:00Z' }), 'event-invalid', /created_at/],
    [item({ created_at: '2024-02-03T00:00:00' }), 'event-invalid', /created_at/],
    [item({ created_at: 9e15 }), 'event-invalid', /years 1 to 9999/],
    [item({ to_state: 'a\u0000b' }), 'event-invalid', /control character/],
    [item({ payload: 'nul \u0000' }), 'event-invalid', /NUL/],
    [item({ payload: 'x'.repeat(1_000_001) }), 'event-invalid', /payload has/],
    ['text', 'event-invalid', /expected object/],
    [null, 'event-invalid', /expected object/],
  ]
  const answer = await api.send(post([item(), ...cases.map(([given]) => given), item()]))
  t.equal(answer.statusCode, 202)
  const { outcomes, ...counts } = answer.json()
  t.match(counts, { appended: 2, refused: cases.length, unknown: 0 })
  t.equal(outcomes[0].status, 'appended')
  t.equal(outcomes.at(-1).status, 'appended')
  cases.forEach(([given, code, detail], index) => {
    const expected = { status: 'refused', problem: { type: `urn:refold:problem:${code}`, status: 400, detail } }
    t.match(outcomes[index + 1], expected, JSON.stringify(given)?.slice(0, 80))
  })
  t.equal(api.appended.length, 2)
})

t.test('a line that is not JSON is refused alone; an array that is not JSON is refused whole', async (t) => {
  const api = await fakeApi(t)
  const good = JSON.stringify(item())
  const lines = await api.send(ndjson(`${good}\n{"event_name":\n\n${good}\r\n{"event_name":"x","event_name":"y"}`))
  t.same(
    lines.json().outcomes.map(({ status }: { status: string }) => status),
    ['appended', 'refused', 'appended', 'refused'],
  )
  t.match(lines.json().outcomes[1].problem.detail, /^line 2: not JSON/)
  t.match(lines.json().outcomes[3].problem.detail, /event_name comes twice/)
  api.appended.length = 0
  const payloadSpoilt = `[${good},{"event_name":"x","execution_id":"${EXECUTION}","payload":{"a":}}]`
  for (const body of [`[${good},{]`, `[${good},]`, `[${good}`, `[${good}] x`, '{', payloadSpoilt]) {
    const answer = await api.send(post(body))
    t.equal(answer.statusCode, 400, body)
    t.match(answer.headers['content-type'], /^application\/problem\+json/)
    t.match(answer.json(), { type: 'urn:refold:problem:request-invalid', detail: /not a JSON array/ })
  }
  t.equal(api.appended.length, 0)
})

t.test('a request of which nothing is valid is refused', async (t) => {
  const api = await fakeApi(t)
  const one = await api.send(post([item({ event_name: 'wait.x' })]))
  t.equal(one.statusCode, 400)
  t.match(one.json(), { type: 'urn:refold:problem:name-reserved', outcomes: [{ status: 'refused' }] })
  const two = await api.send(post([item({ event_name: 'wait.x' }), {}]))
  t.match(two.json(), { type: 'urn:refold:problem:request-invalid', detail: /none of 2 events is valid/, outcomes: [{}, {}] })
  for (const body of ['[]', '']) t.equal((await api.send(post(body))).statusCode, 400)
  const bytes = await api.send({ ...post(''), payload: Buffer.from([0x5b, 0x22, 0xff, 0x22, 0x5d]) })
  t.match(bytes.json(), { detail: 'the body is not UTF-8' })
  const type = await api.send({ ...post('a=b'), headers: { 'content-type': 'text/plain' } })
  t.equal(type.statusCode, 415)
  t.match(type.json(), { type: 'urn:refold:problem:media-type-unsupported' })
})

t.test('thousands of events fit one request', async (t) => {
  const api = await fakeApi(t)
  const answer = await api.send(post(Array.from({ length: 5000 }, (_, n) => item({ payload: { n } }))))
  t.equal(answer.json().appended, 5000)
  t.same(
    api.appended.map(({ event }) => event.payload),
    Array.from({ length: 5000 }, (_, n) => `{"n":${n}}`),
  )
})

t.test('events of one execution need not name it', async (t) => {
  const api = await fakeApi(t)
  const url = `/v1/executions/${EXECUTION.toUpperCase()}/events`
  const answer = await api.send({
    ...post([{ event_name: 'x' }, item(), item({ execution_id: '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a02' })]),
    url,
  })
  t.match(answer.json(), {
    appended: 2,
    refused: 1,
    outcomes: [{ execution_id: EXECUTION }, {}, { problem: { detail: /not the one of the URL/ } }],
  })
  t.equal((await api.send({ ...post([{ event_name: 'x' }]), url: '/v1/executions/nope/events' })).statusCode, 400)
})

t.test('the tenant is that of the token; without a known one nothing is read', async (t) => {
  const api = await fakeApi(t)
  await api.send({ ...post([item()]), headers: { 'content-type': 'application/json', authorization: `bearer ${OTHER_TOKEN}` } })
  t.equal(api.appended[0]?.event.tenant, OTHER_TENANT)
  for (const authorization of ['', 'Bearer', `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`]) {
    const answer = await api.send({ ...post([item()]), headers: { 'content-type': 'application/json', authorization } })
    t.equal(answer.statusCode, 401)
    t.equal(answer.headers['www-authenticate'], 'Bearer realm="refold"')
    t.match(answer.json(), { type: 'urn:refold:problem:unauthenticated' })
  }
  t.equal(api.appended.length, 1)
})

t.test('what the log does not acknowledge is unknown, what it can never take is refused', async (t) => {
  const api = await fakeApi(t)
  api.onAppend = ({ event_name: name }) => {
    if (name === 'down') throw new RefoldError('log-unavailable', 'no broker')
    if (name === 'large') throw new RefoldError('log-append-too-large', '2 MB')
  }
  const answer = await api.send(post([item(), item({ event_name: 'down' }), item({ event_name: 'large' })]))
  t.equal(answer.statusCode, 202)
  t.match(answer.json(), {
    appended: 1,
    refused: 1,
    unknown: 1,
    outcomes: [{}, { status: 'unknown', event_id: String }, { status: 'refused' }],
  })
  const none = await api.send(post([item({ event_name: 'large' }), item({ event_name: 'down' })]))
  t.equal(none.statusCode, 503)
  t.equal(none.headers['retry-after'], '5')
  t.match(none.json(), {
    type: 'urn:refold:problem:log-unavailable',
    retryable: true,
    outcomes: [{ status: 'refused' }, { status: 'unknown' }],
  })
  t.equal((await api.send(post([item({ event_name: 'large' })]))).statusCode, 413)
})

t.test('with Prefer: wait the verdicts are filled in once the recorder has passed them', async (t) => {
  const api = await fakeApi(t)
  const partition = partitionOf(EXECUTION, PARTITIONS)
  const { checkpoints } = api
  const verdicts: Reads['verdicts'] = async (tenant, positions) => {
    t.equal(tenant, TENANT)
    t.same(positions, [
      { partition, offset: 0 },
      { partition, offset: 1 },
    ])
    t.equal(checkpoints.get(partition), 2, 'asked only when recorded')
    const value = new Map([
      [`p${partition}:0`, { verdict: 'accepted' as const, seq: 4 }],
      [`p${partition}:1`, { verdict: 'late', reason: 'ended', detail: 'the execution had ended' }],
    ])
    return { value, checkpoints }
  }
  api.reads = { ...api.reads, verdicts }
  const asked = api.send(post([item(), item()], { prefer: 'respond-async, wait=30' }))
  await until(() => api.appended.length === 2)
  checkpoints.set(partition, 1)
  checkpoints.set(partition, 2)
  const answer = await asked
  t.equal(answer.headers['preference-applied'], 'wait=30')
  t.match(answer.json().outcomes, [
    { status: 'appended', verdict: 'accepted', seq: 4 },
    { status: 'appended', verdict: 'late', reason: 'ended', detail: 'the execution had ended' },
  ])
})

t.test('a wait that runs out, or a database that is away, leaves verdicts pending', async (t) => {
  const api = await fakeApi(t)
  const short = await api.send(post([item()], { prefer: 'wait=0' }))
  t.equal(short.statusCode, 202)
  t.equal(short.json().outcomes[0].verdict, 'pending')
  api.reads = { ...api.reads, checkpoints: async () => Promise.reject(new RefoldError('database-unavailable', 'gone')) }
  const away = await api.send(post([item()], { prefer: 'wait=30' }))
  t.equal(away.statusCode, 202)
  t.equal(away.json().outcomes[0].verdict, 'pending')
})

t.test('trace context goes into the headers of the record', async (t) => {
  const api = await fakeApi(t)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  await api.send(post([item()], { traceparent }))
  await api.send(post([item()]))
  t.same(
    api.appended.map(({ headers }) => headers),
    [{ traceparent }, undefined],
  )
})

t.test('bodies beyond the budget wait until others are done', async (t) => {
  const api = await fakeApi(t, { limits: { bodyBytes: 1000, heldBytes: 1000, heldWait: 60_000 } })
  const gate = Promise.withResolvers<void>()
  api.onAppend = ({ event_name: name }) => (name === 'slow' ? gate.promise : undefined)
  const large = (name: string) => post([item({ event_name: name, payload: 'x'.repeat(600) })])
  const slow = api.send(large('slow'))
  let done = false
  const next = api.send(large('next')).then((answer) => {
    done = true
    return answer
  })
  t.equal((await api.send('/livez')).statusCode, 200)
  t.notOk(done)
  gate.resolve()
  t.equal((await slow).statusCode, 202)
  t.equal((await next).statusCode, 202)
  const over = await api.send(post([item({ payload: 'x'.repeat(1000) })]))
  t.equal(over.statusCode, 413)
  t.match(over.json(), { type: 'urn:refold:problem:request-too-large' })
})

t.test('a request that waits too long for the budget is told to come back', async (t) => {
  const api = await fakeApi(t, { limits: { bodyBytes: 1000, heldBytes: 1000, heldWait: 20 } })
  const gate = Promise.withResolvers<void>()
  api.onAppend = () => gate.promise
  const slow = api.send(post([item({ payload: 'x'.repeat(700) })]))
  const refused = await api.send(post([item({ payload: 'x'.repeat(700) })]))
  t.equal(refused.statusCode, 503)
  t.equal(refused.headers['retry-after'], '1')
  t.match(refused.json(), { type: 'urn:refold:problem:overloaded' })
  gate.resolve()
  t.equal((await slow).statusCode, 202)
})

t.test('a sender who goes away in the middle gives its share of the budget back', async (t) => {
  const api = await fakeApi(t, { limits: { bodyBytes: 1000, heldBytes: 1000, heldWait: 60_000 } })
  await api.app.listen({ host: '127.0.0.1', port: 0 })
  const address = api.app.server.address()
  if (address === null || typeof address === 'string') throw new Error('it does not listen')
  const socket = connect(address.port, '127.0.0.1')
  const head = `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\n`
  socket.write(`${head}content-length: 900\r\n\r\n[{"event_name"`)
  await until(() => api.requests === 1)
  let answered = false
  const next = api.send(post([item({ payload: 'x'.repeat(600) })])).then((answer) => {
    answered = true
    return answer
  })
  t.equal((await api.send('/livez')).statusCode, 200)
  t.notOk(answered)
  socket.destroy()
  t.equal((await next).statusCode, 202)
})
