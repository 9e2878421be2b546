// Two tenants in one installation: neither learns anything of the other, by whatever route; and in SQL the API's role sees
// nothing at all without a tenant.
//
// What both see is the log itself: partitions, offsets and checkpoints are positions of the whole topic (Refold-Watermark,
// Refold-Lag, `next` of a page), so how much is written in all is known to everybody who may read.

import path from 'node:path'
import t from 'tap'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { executionIdOf } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { decision, event } from '../support/events.ts'
import { useKafka } from '../support/kafka.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { outcomesOf, type Rest, type RestAnswer, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const SECRET = 'zebra'
const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const NOBODYS = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a99'
const PARTITIONS = 12
/** Its projection `cases` has a row for each execution. */
const APP = path.join(import.meta.dirname, '../support/projection-app.ts')
const WAIT = { prefer: 'wait=60' }

/** An event in which every text is a secret. */
const secret = (n: number, changes: object = {}) => ({
  event_name: `${SECRET}.moved`,
  event_type: SECRET,
  workflow_name: SECRET,
  business_key: `${SECRET}-key`,
  execution_id: EXECUTION,
  to_state: `${SECRET}-state`,
  user_id: SECRET,
  correlation_id: SECRET,
  causation_id: SECRET,
  idempotency_key: `${SECRET}-${n}`,
  payload: { [SECRET]: n },
  ...changes,
})

/** An action, a timer and a wait of tenant a. */
function decisionsOf(executionId: string): WorkflowEvent[] {
  const policy = { attempts: 1, backoff_ms: 1, factor: 1, max_ms: 1 }
  const action = { name: SECRET, key: SECRET, group: null, arguments: {}, parameters: {}, retry: policy, timeout_ms: 1 }
  const payloads: [string, object][] = [
    ['action.scheduled', { ...action, guarantee: 'at-least-once', queue: SECRET }],
    ['timer.started', { fire_at: '2030-01-01T00:00:00.000Z', purpose: 'sleep' }],
    ['wait.started', { names: [SECRET] }],
  ]
  let chain = ''
  return payloads.map(([name, payload], i) => {
    const whose = { tenant: 'tenant-a', execution_id: executionId }
    const one = decision(i + 1, chain, { ...whose, event_name: name, to_state: '', payload: JSON.stringify(payload) })
    chain = nextChain(chain, contentOf(one))
    return one
  })
}

/** Tables that the API's role reads and that no tenant owns. */
const SHARED_TABLES = ['refold.generations', 'refold.operations', 'refold.processes', 'refold.projection_skips', 'refold.projections']

type OpenApi = { paths: Record<string, Record<string, { parameters?: { name: string; in: string; required?: boolean }[] }>> }

/** Every GET route of the API with these values put in; the stream, which does not end, has a test of its own. */
/** Answers that do not end by themselves. */
const LIVE = /\/(stream|changes)$/

async function readsOf(rest: Rest, values: Readonly<Record<string, string>>): Promise<string[]> {
  const { paths } = (await rest.get('/openapi.json')).json() as OpenApi
  return Object.entries(paths)
    .filter(([path, methods]) => path.startsWith('/v1/') && 'get' in methods && !LIVE.test(path))
    .map(([path]) => path.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? `no value for ${name}`))
}

/** The changes of `cases`, as far as the end of the snapshot. */
async function snapshotOf(url: string, token: string): Promise<string> {
  const leave = new AbortController()
  const { body } = await fetch(`${url}/v1/projections/cases/changes`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.any([leave.signal, AbortSignal.timeout(30_000)]),
  })
  let text = ''
  for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += part
    if (text.includes('"event":"snapshot"')) break
  }
  leave.abort()
  return text
}

/** An answer without what tells two requests apart, or the time. */
const shape = ({ status, text }: RestAnswer, ...ids: readonly string[]) => ({
  status,
  text: ids.reduce((all, id) => all.replaceAll(id, 'ID'), text),
})

t.test('tenants', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const kafka = await useKafka(t)
  if (!kafka) return
  const installation = await useInstallation(t, addresses, 'token-a=tenant-a,token-b=tenant-b,token-c=tenant-c')
  const { url } = await startRefold(t, installation, 'api,recorder', { app: APP })
  await startRefold(t, installation, 'projector', { app: APP })
  const [a, b, c] = [restOf(url, 'token-a'), restOf(url, 'token-b'), restOf(url, 'token-c')]

  // Tenant a: enough for snapshots, a conflict, a duplicate, a late one; and a record that is nobody's.
  const sent = await a.send(
    Array.from({ length: 25 }, (_, n) => secret(n)),
    WAIT,
  )
  await a.send(
    [secret(1, { payload: { [SECRET]: 'other' }, idempotency_key: null, event_id: outcomesOf(sent)[1]?.event_id }), secret(2)],
    WAIT,
  )
  await a.send([secret(90, { business_key: `${SECRET}-ended`, execution_id: null, to_state: 'completed' })], WAIT)
  await a.send([secret(91, { business_key: `${SECRET}-ended`, execution_id: null })], WAIT)
  const begun = await a.post(
    '/v1/executions',
    JSON.stringify({ workflow: SECRET, version: '1', key: `${SECRET}-driven`, input: { [SECRET]: 1 } }),
    { 'content-type': 'application/json' },
  )
  const { executionId: driven } = begun.json() as { executionId: string }
  const producer = kafka.kafka.producer()
  await producer.connect()
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`
  const partition = partitionOf(EXECUTION, PARTITIONS)
  // '' as a tenant is also what the setting behind row-level security holds after a transaction that had set one.
  const schemaId = await createRegistry({ url: addresses.registryUrl }).register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA)
  const blank = createEventCodec({ schemaId }).encode(event({ tenant: '', execution_id: EXECUTION }))
  await producer.send({ topic, messages: [{ partition, key: EXECUTION, value: blank }] })
  // Decisions of the driven one, as its runtime would append them.
  const encode = createEventCodec({ schemaId }).encode
  const made = decisionsOf(driven).map((one) => ({ partition: partitionOf(driven, PARTITIONS), key: driven, value: encode(one) }))
  await producer.send({ topic, messages: made })
  const [garbage] = await producer.send({ topic, messages: [{ partition, key: SECRET, value: SECRET }] })
  await producer.disconnect()
  const known = outcomesOf(sent)[3]
  const late = (await a.get('/v1/verdicts?verdict=late', WAIT)).json() as { verdicts: { position: string }[] }
  const position = late.verdicts[0]?.position ?? ''
  await a.get(`/v1/executions?minPosition=p${partition}:${garbage?.baseOffset}`, WAIT)
  await until(async () => (await a.get(`/v1/executions/${driven}`)).text.includes(`"lastSeq":${made.length + 1}`))
  await installation.database.admin.query(
    `INSERT INTO refold.incidents (kind, subject, tenant, execution_id, summary, evidence) VALUES ('diverged', $1, 'tenant-a', $2, $1, '{}')`,
    [SECRET, driven],
  )
  await installation.database.admin.query(
    `INSERT INTO refold.action_progress (tenant, execution_id, action, attempt, progress) VALUES ('tenant-a', $1, 1, 1, $2)`,
    [driven, JSON.stringify(SECRET)],
  )
  await installation.database.admin.query(`INSERT INTO refold.processes (id, role) VALUES ('a-process', 'runtime')`)
  await until(async () => (await a.get('/v1/projections/cases/rows')).text.includes(driven))
  const values = { executionId: EXECUTION, eventId: known?.event_id ?? '', position, name: 'cases', id: NOBODYS, key: EXECUTION }
  /** Routes that say something only of an execution with a function. */
  const isOfDriven = (route: string) => /\/(actions|result|diagnosis)$/.test(route)
  /** Routes on what is no tenant's: which projections there are, how far they are, what was asked of them. */
  const isShared = (route: string) => /^\/v1\/(operations|projections$|projections\/\w+$|projections\/\w+\/plan$)/.test(route)
  const ended = executionIdOf('tenant-a', SECRET, `${SECRET}-ended`)

  await t.test('their own reads show what is asked for later', async (t) => {
    for (const route of (await readsOf(a, values)).filter((one) => !isShared(one))) {
      const path = isOfDriven(route) ? route.replace(EXECUTION, driven) : route
      const { status, text } = await a.get(path)
      t.ok(status === 200 || (status === 202 && path.endsWith('/result')), `${path}: ${status}`)
      // Snapshots say nothing of what is in them.
      if (!path.endsWith('/snapshots')) t.match(text, new RegExp(`${SECRET}|${EXECUTION}|${driven}`), path)
    }
  })

  await t.test('what is asked with the ids of another tenant looks as if it never was', async (t) => {
    const paths = await readsOf(b, values)
    for (const [i, never] of (
      await readsOf(b, { ...values, executionId: NOBODYS, eventId: NOBODYS, key: NOBODYS, position: 'p11:4000' })
    ).entries()) {
      const route = paths[i] ?? ''
      const theirsAt = isOfDriven(route) ? route.replace(EXECUTION, driven) : route
      const theirs = await b.get(theirsAt)
      const nobodys = await b.get(never)
      if (!never.includes('p11:4000') && !isShared(route))
        t.same(shape(theirs, EXECUTION, driven, values.eventId), shape(nobodys, NOBODYS), theirsAt)
      else if (!isShared(route)) t.equal(theirs.status, 404, theirsAt)
      t.notMatch(theirs.text, new RegExp(`${SECRET}|tenant-a`), 'and has no secret')
    }
    for (const query of [
      'key=zebra-key',
      'workflow=zebra',
      'state=zebra-state',
      'correlation_id=zebra',
      'status=completed',
      'since=2000-01-01T00:00:00Z',
    ])
      t.match((await b.get(`/v1/executions?${query}`)).json(), { executions: [], nextCursor: null }, query)
    for (const query of ['', '?verdict=late', '?verdict=conflict', `?execution_id=${EXECUTION}`, `?execution_id=${ended}`])
      t.match((await b.get(`/v1/verdicts${query}`)).json(), { verdicts: [], nextCursor: null }, `verdicts${query}`)
    t.match((await b.get('/v1/events?limit=5000')).json(), { events: [], more: false }, 'no event, and no count of them')
    t.match((await b.get('/v1/projections/cases/rows')).json(), { rows: [] }, 'no row of a projection')
    t.match(await snapshotOf(url, 'token-a'), /"event":"row".*zebra|"event":"row","data":\{"execution"/, 'of their own, rows')
    t.notMatch(await snapshotOf(url, 'token-b'), /"event":"row"/, 'no row that changes')
    const receipt = `/v1/executions/${EXECUTION}/receipts/${values.eventId}?position=${known?.position}`
    t.equal((await b.get(receipt)).status, 404, 'no receipt, though the position is right')
    const judged = await b.get(`/v1/verdicts/${known?.position}`)
    t.equal(judged.status, 404, 'nor an accepted record by its position')
    t.equal((await b.post(`/v1/verdicts/${position}/redrive`)).status, 404, 'nor is it redriven')
    for (const verb of ['cancel', 'pause', 'resume', 'terminate', 'retry'])
      t.equal((await b.post(`/v1/executions/${driven}/${verb}`)).status, 404, `nor is it asked to ${verb}`)
    t.equal((await a.get(`/v1/executions/${driven}`)).text.includes(`"lastSeq":${made.length + 1}`), true, 'and nothing came of it')
  })

  await t.test("a record of nobody's is no tenant's", async (t) => {
    const at = `p${partition}:${garbage?.baseOffset}`
    for (const rest of [a, b]) {
      t.equal((await rest.get(`/v1/verdicts/${at}`)).status, 404)
      t.notMatch((await rest.get('/v1/verdicts?reason=undecodable')).text, at)
    }
  })

  await t.test('the same execution id and keys in two tenants are two executions', async (t) => {
    // The same ids, keys and names, other content: nothing of it meets what tenant a has.
    const mine = await b.send(
      [secret(3, { payload: { b: true }, to_state: 'b' }), secret(4, { event_id: values.eventId, idempotency_key: null })],
      {
        ...WAIT,
        'idempotency-key': `${SECRET}-3`,
      },
    )
    t.match(mine.json(), {
      appended: 2,
      outcomes: [
        { verdict: 'accepted', seq: 1 },
        { verdict: 'accepted', seq: 2 },
      ],
    })
    t.match((await b.get(`/v1/executions/${EXECUTION}`)).json(), { tenant: 'tenant-b', lastSeq: 2, data: { b: true } })
    t.match((await a.get(`/v1/executions/${EXECUTION}`)).json(), { tenant: 'tenant-a', lastSeq: 25, data: { [SECRET]: 24, b: undefined } })
    const history = (await b.get(`/v1/executions/${EXECUTION}/events`)).json() as { events: { tenant: string }[] }
    t.same(
      history.events.map(({ tenant }) => tenant),
      ['tenant-b', 'tenant-b'],
    )
    const same = { event_name: 'x', workflow_name: 'w', business_key: 'k' }
    const [inB] = outcomesOf(await b.send([same], WAIT))
    const [inC] = outcomesOf(await c.send([same], WAIT))
    t.not(inB?.execution_id, inC?.execution_id, 'derived ids differ by tenant')
  })

  await t.test("a stream has the tenant's own events", async (t) => {
    for (const [token, mine, others] of [
      ['token-a', 'tenant-a', 'tenant-b'],
      ['token-b', 'tenant-b', 'tenant-a'],
    ] as const) {
      const ended = new AbortController()
      const stream = await fetch(`${url}/v1/stream?after=`, { headers: { authorization: `Bearer ${token}` }, signal: ended.signal })
      let text = ''
      const reading = (async () => {
        for await (const part of stream.body?.pipeThrough(new TextDecoderStream()) ?? []) text += part
      })().catch(() => undefined)
      await until(() => text.split('\ndata: ').length > 2, { what: () => text })
      ended.abort()
      await reading
      t.match(text, `"tenant":"${mine}"`)
      t.notMatch(text, others)
    }
  })

  await t.test('errors tell nothing', async (t) => {
    const unknown = restOf(url, 'token-x')
    t.equal((await unknown.get(`/v1/executions/${EXECUTION}`)).status, 401)
    const wrong = [
      '/v1/executions?cursor=x',
      '/v1/executions/x',
      '/v1/executions?minPosition=p99:1',
      '/v1/nothing',
      `/v1/executions/${ended}/state?seq=99`,
    ]
    for (const path of wrong) {
      const { status, text } = await c.get(path)
      t.ok(status >= 400 && status < 500, `${path}: ${status}`)
      t.notMatch(text, new RegExp(`${SECRET}|tenant-a|postgres|refold_|SELECT`), path)
    }
    t.notMatch((await c.get('/metrics')).text, new RegExp(`${SECRET}|tenant-`), '/metrics counts all tenants together')
    t.notMatch((await c.get('/readyz')).text, new RegExp(`${SECRET}|tenant-`))
  })

  await t.test("in SQL the API's role sees no row without a tenant, of anything it may read", async (t) => {
    const { api, admin } = installation.database
    const { rows: readable } = await admin.query<{ name: string; tenants: boolean }>(`
      SELECT format('%I.%I', n.nspname, r.relname) AS name,
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attname = 'tenant') AS tenants
      FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
      WHERE r.relkind IN ('r', 'v', 'm', 'p', 'f') AND n.nspname LIKE 'refold%' AND has_table_privilege('refold_api', r.oid, 'SELECT')
      ORDER BY 1`)
    const names = readable.map(({ name }) => name)
    t.ok(names.length >= 7, names.join(', '))
    t.same(
      readable.filter(({ tenants }) => !tenants).map(({ name }) => name),
      ['refold.checkpoints', ...SHARED_TABLES],
      'what has no tenant is only the positions of the log, which processes run, and what there is of projections',
    )
    const client = await api.connect()
    const count = async (name: string) => (await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${name}`)).rows[0]?.n ?? -1
    for (const name of names) t.equal(await count(name), 0, `${name}: no row`)
    await client.query("BEGIN; SELECT set_config('refold.tenant', 'tenant-a', true)")
    for (const name of names.filter((one) => !SHARED_TABLES.includes(one)))
      t.ok((await count(name)) > 0, `${name}: rows of the tenant that is set`)
    await client.query('COMMIT')
    for (const name of names) t.equal(await count(name), 0, `${name}: no row after the transaction`)
    client.release()
    const { rows: all } = await admin.query<{ name: string }>(`
      SELECT format('%I.%I', n.nspname, r.relname) AS name FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = 'tenant'
      WHERE r.relkind = 'r' AND n.nspname LIKE 'refold%'
        AND NOT (r.relrowsecurity AND (r.relforcerowsecurity OR n.nspname LIKE 'refold\\_p\\_%'))`)
    t.same(all, [], "row-level security is on for every table that has tenants, and holds the owner too, but for projections' tables")
  })
})
