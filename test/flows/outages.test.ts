// Servers die under load: nothing acknowledged is lost or reordered, and all goes on without a restart of ours.

import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig } from '../../config.ts'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import { ROLES, type Running, start, type StartOptions } from '../../main.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { createEventProducer, type EventProducer } from '../../producers/events.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { defineApp, executionsByState } from '../../index.ts'
import orders from '../../examples/order-fulfilment/app.ts'
import { executionIdOf, newId } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { event } from '../support/events.ts'
import { steadyLoad } from '../support/load.ts'
import { type OwnStack, ownStack } from '../support/own-stack.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const TENANT = 'outages'
const APP = defineApp({ workflows: orders.workflows, implementations: orders.implementations, projections: [executionsByState] })
const PARTITIONS = 6
const logger = pino({ level: 'silent' })

async function startAll(
  t: Test,
  stack: OwnStack,
  replication: number,
  roles: StartOptions['roles'] = ['api', 'recorder'],
): Promise<Running> {
  const config = readConfig({
    REFOLD_TOPIC_PREFIX: 'outages',
    REFOLD_PARTITIONS: String(PARTITIONS),
    REFOLD_REPLICATION: String(replication),
    REFOLD_PORT: '0',
    REFOLD_GROUP_SESSION: '3000',
    REFOLD_GROUP_HEARTBEAT: '500',
    REFOLD_STUCK_AFTER: '5000',
  })
  const addresses = {
    kafkaBrokers: stack.brokers,
    registryUrl: stack.registryUrl,
    databaseUrl: stack.databaseUrl,
    redisUrl: stack.redisUrl,
    apiTokens: new Map([['token', TENANT]]),
    operatorTokens: new Set<string>(),
  }
  const running = await start({ config, addresses, roles, logger, app: APP })
  t.teardown(() => running.stop())
  return running
}

async function openProducerOn(t: Test, stack: OwnStack): Promise<EventProducer> {
  const log = createKafkaLog({ brokers: stack.brokers, clientId: 'outages-test', logger, appendDeadline: 120_000 })
  t.teardown(() => log.close())
  const schemaId = await createRegistry({ url: stack.registryUrl }).register('outages.events-value', WORKFLOW_EVENT_SCHEMA)
  const codec = createEventCodec({ schemaId })
  return createEventProducer({ log, topic: 'outages.events', partitions: PARTITIONS, encode: (one) => codec.encode(one) })
}

const executions = Array.from({ length: 40 }, (_, i) => executionIdOf(TENANT, 'outages', String(i)))
const step = (i: number, prefix = 'n') =>
  event({
    tenant: TENANT,
    execution_id: executions[i % executions.length] ?? '',
    event_id: newId(),
    event_name: 'outage.stepped',
    payload: JSON.stringify({ [prefix]: i }),
  })

/** Per execution the payloads in seq order. */
async function historyOf(databaseUrl: string): Promise<Map<string, string[]>> {
  const pool = createPgPool(databaseUrl, { max: 1, name: 'test-history' })
  const { rows } = await pool.query<{ execution_id: string; payload: string }>(
    'SELECT execution_id, payload FROM refold.workflow_events WHERE tenant = $1 ORDER BY execution_id, seq',
    [TENANT],
  )
  await pool.end()
  const histories = new Map<string, string[]>()
  for (const { execution_id: id, payload } of rows) histories.set(id, [...(histories.get(id) ?? []), payload])
  return histories
}

const countOf = (histories: Map<string, string[]>) => [...histories.values()].reduce((sum, one) => sum + one.length, 0)

t.test('one broker of three is killed and comes back under load', { timeout: 400_000 }, async (t) => {
  if (!useStack(t, ['kafka']).kafkaBrokers) return
  const stack = await ownStack(t, { brokers: 3 })
  await startAll(t, stack, 3)
  const producer = await openProducerOn(t, stack)
  const sent: Promise<unknown>[] = []
  let slowest = 0
  const send = (i: number) => {
    const began = performance.now()
    sent.push(producer.append(step(i)).then(() => (slowest = Math.max(slowest, performance.now() - began))))
  }
  let next = 0
  const load = (ms: number) => steadyLoad(300, ms, () => send(next++))
  await load(3000)
  await stack.kill('kafka-2')
  await load(6000)
  await stack.restore('kafka')
  await load(3000)
  const results = await Promise.allSettled(sent)
  t.strictSame(
    results.filter(({ status }) => status === 'rejected'),
    [],
    'every append is acknowledged in the end',
  )
  await until(async () => countOf(await historyOf(stack.databaseUrl)) === next, {
    within: 60_000,
    every: 500,
    what: `${next} events recorded`,
  })
  for (const [id, payloads] of await historyOf(stack.databaseUrl)) {
    const numbers = payloads.map((payload) => (JSON.parse(payload) as { n: number }).n)
    if (numbers.some((n, i) => i > 0 && n < (numbers[i - 1] ?? 0))) t.fail(`${id} is out of order`, { numbers })
  }
  t.comment(`${next} events; slowest acknowledgement ${Math.round(slowest)} ms`)
  t.ok(slowest < 15_000, 'the stall ends by itself')
})

t.test('registry and Postgres go and come back', { timeout: 400_000 }, async (t) => {
  if (!useStack(t, ['kafka']).kafkaBrokers) return
  const stack = await ownStack(t)
  const running = await startAll(t, stack, 1, ROLES)
  const producer = await openProducerOn(t, stack)
  const recorded = async () => countOf(await historyOf(stack.databaseUrl))
  const api = (path: string, init: RequestInit = {}) =>
    fetch(`${running.url}${path}`, { ...init, headers: { authorization: 'Bearer token', 'content-type': 'application/json' } })

  t.test('registry down: known schemas go on, an unknown one waits and then passes', async (t) => {
    // A schema with one more field, registered by somebody else, that the recorder has not met.
    const fields = [...(JSON.parse(WORKFLOW_EVENT_SCHEMA) as { fields: object[] }).fields, { name: 'extra', type: 'string', default: '' }]
    const evolved = JSON.stringify({ ...(JSON.parse(WORKFLOW_EVENT_SCHEMA) as object), fields })
    const evolvedId = await createRegistry({ url: stack.registryUrl }).register('outages.events-value', evolved)
    await producer.append(step(0))
    await until(async () => (await recorded()) === 1, { what: 'the first event' })
    await stack.kill('registry')
    await Promise.all(Array.from({ length: 40 }, (_, i) => producer.append(step(i))))
    await until(async () => (await recorded()) === 41, { what: 'known schemas to go on' })
    const log = createKafkaLog({ brokers: stack.brokers, clientId: 'evolved', logger })
    t.teardown(() => log.close())
    const one = step(1, 'evolved')
    const ours = createEventCodec({ schemaId: evolvedId }).encode(one)
    // `extra` is the last field: its Avro is appended, '' is one byte 0.
    const value = Buffer.concat([ours, Buffer.from([0])])
    await log.append({ topic: 'outages.events', partition: partitionOf(one.execution_id, PARTITIONS), key: one.execution_id, value })
    const behind = producer.append(step(1, 'behind'))
    await behind
    const pool = createPgPool(stack.databaseUrl, { max: 1, name: 'test-verdicts' })
    t.teardown(() => pool.end())
    const elsewhere = executions.findIndex((id) => partitionOf(id, PARTITIONS) !== partitionOf(one.execution_id, PARTITIONS))
    await producer.append(step(elsewhere, 'elsewhere'))
    await until(async () => (await recorded()) >= 42, { what: 'other partitions to go on' })
    const verdicts = await pool.query('SELECT * FROM refold.event_verdicts')
    t.equal(verdicts.rowCount, 0, 'a registry that is down is not a verdict')
    await stack.restore('registry')
    await until(async () => (await recorded()) === 44, { within: 60_000, what: 'the unknown schema to pass' })
    const history = (await historyOf(stack.databaseUrl)).get(one.execution_id) ?? []
    t.strictSame(history.slice(-2), ['{"evolved":1}', '{"behind":1}'])
  })

  t.test('Postgres down for 30 s: intake goes on, reads say so, then all roles catch up', async (t) => {
    const before = await recorded()
    await stack.kill('postgres')
    const codes = new Set<number>()
    const requests: Promise<unknown>[] = []
    let taken = 0
    const take = () => {
      const body = JSON.stringify([{ event_name: 'outage.taken', execution_id: executions[taken % executions.length], payload: { taken } }])
      requests.push(api('/v1/events', { method: 'POST', body }).then(({ status }) => codes.add(status)))
      taken++
    }
    await steadyLoad(40, 10_000, take)
    const read = await api(`/v1/executions/${executions[0]}`)
    t.equal(read.status, 503)
    t.match(await read.json(), { type: 'urn:refold:problem:database-unavailable', retryable: true })
    t.equal((await api('/readyz')).status, 503)
    await steadyLoad(40, 20_000, take)
    await Promise.all(requests)
    t.strictSame([...codes], [202], `${taken} requests were taken in`)
    await stack.restore('postgres')
    await until(async () => (await recorded()) === before + taken, { within: 90_000, every: 300, what: `${taken} events recorded` })
    const folded = async () => {
      const { watermark, lag } = (await (await api('/v1/projections/executions_by_state')).json()) as { watermark: string; lag: number }
      return lag === 0 && watermark !== ''
    }
    await until(folded, { within: 60_000, every: 300, what: 'the projection to follow' })
    const told = async () => {
      const pool = createPgPool(stack.databaseUrl, { max: 1, name: 'test-notified' })
      const { rows } =
        await pool.query(`SELECT FROM refold.checkpoints n JOIN refold.checkpoints r ON r.reader = 'recorder' AND r.partition = n.partition
        WHERE n.reader = 'notifier' AND n.next_offset < r.next_offset`)
      await pool.end()
      return rows.length === 0
    }
    await until(told, { within: 60_000, every: 300, what: 'the notifier to follow' })
    await until(async () => (await api('/readyz')).status === 200, { within: 30_000, what: 'readiness' })
  })
})
