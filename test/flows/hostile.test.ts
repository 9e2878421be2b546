// Hostile records, written straight into the topic: each ends in the verdict the design names, seen over REST by whom it
// concerns; its neighbours in the same partition are accepted, and the recorder comes to the end of the log.

import kafkajs from 'kafkajs'
import type { Message } from 'kafkajs'
import t from 'tap'
import { UNPACKED_LIMIT } from '../../kafka/codecs.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { event } from '../support/events.ts'
import { hiddenRegistry } from '../support/hidden-registry.ts'
import * as hostile from '../support/hostile-records.ts'
import { PARTITIONS, PROTO_PAYLOAD, TENANT } from '../support/hostile-records.ts'
import { useKafka } from '../support/kafka.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

/** Where all that is hostile goes. */
const PARTITION = 5

type Verdict = { position: string; verdict: string; reason?: string; detail?: string; tenant?: string | null }
type Written = hostile.Hostile & { position: string }

async function verdictsOf(rest: Rest): Promise<Map<string, Verdict>> {
  const all = new Map<string, Verdict>()
  for (let cursor: string | null = ''; cursor !== null;) {
    const answer = await rest.get(`/v1/verdicts?limit=20${cursor === '' ? '' : `&cursor=${cursor}`}`)
    const page = answer.json() as { verdicts: Verdict[]; nextCursor: string | null }
    for (const one of page.verdicts) all.set(one.position, one)
    cursor = page.nextCursor
  }
  return all
}

t.test('hostile records', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const kafka = await useKafka(t)
  if (!kafka) return
  const installation = await useInstallation(t, addresses, `token=${TENANT},operator=operators,stranger=strangers`)
  const registry = await hiddenRegistry(t, addresses.registryUrl)
  Object.assign(installation.env, { SCHEMA_REGISTRY_URL: registry.url, REFOLD_OPERATOR_TOKENS: 'operator' })
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`

  // A topic that somebody else made: a broker that doesn't unpack lets a bomb through.
  const settings = { ...EVENTS_SETTINGS, 'compression.type': 'producer' }
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
  await kafka.admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1, configEntries }] })
  const { register } = createRegistry({ url: addresses.registryUrl })
  const schemas = {
    ours: await register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA),
    withNulls: await register(`${topic}-nulls`, hostile.NULLS_SCHEMA),
    foreign: await register(`${topic}-foreign`, hostile.FOREIGN_SCHEMA),
    hidden: await register(`${topic}-hidden`, hostile.HIDDEN_SCHEMA.replace('"unseen"', `"unseen_${Date.now()}"`)),
  }
  registry.hidden.add(schemas.hidden)
  const { url } = await startRefold(t, installation, 'api,recorder')
  const [owner, operator, stranger] = [restOf(url, 'token'), restOf(url, 'operator'), restOf(url, 'stranger')]

  const codec = createEventCodec({ schemaId: schemas.ours })
  const executionOf = hostile.executionsOf(PARTITION)
  const neighbours: string[] = []
  const neighbour = (): Message => {
    const execution = executionOf(`neighbour ${neighbours.length}`)
    neighbours.push(execution)
    return { partition: PARTITION, key: execution, value: codec.encode(event({ tenant: TENANT, execution_id: execution })) }
  }
  const messageOf = ({ key, value }: Pick<hostile.Hostile, 'key' | 'value'>): Message => ({ partition: PARTITION, key, value })

  const producer = kafka.kafka.producer({ retry: { retries: 0 } })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const open = kafka.kafka.producer({ transactionalId: `${topic}.open`, maxInFlightRequests: 1, idempotent: true })
  await open.connect()
  const transaction = await open.transaction()
  t.teardown(async () => {
    await transaction.abort()
    await open.disconnect()
  })
  const write = async (message: Message): Promise<string> => {
    const [sent] = await producer.send({ topic, messages: [message] })
    return `p${sent?.partition}:${sent?.baseOffset}`
  }
  const log = kafka.log()
  const ends = () => log.bounds(topic)
  const written: Written[] = []

  await t.test('are written, between valid neighbours', async (t) => {
    for (const one of hostile.hostileRecords(PARTITION, schemas)) {
      await write(neighbour())
      written.push({ ...one, position: await write(messageOf(one)) })
    }
    const large = event({ tenant: TENANT, execution_id: executionOf('large') })
    const tooLarge = hostile.recordOfBatchSize(1, large, schemas.ours)
    await t.rejects(
      write(messageOf({ key: Buffer.from(large.execution_id), value: tooLarge })),
      /larger than the max/,
      'one byte over is refused',
    )

    const bomb = Buffer.alloc(UNPACKED_LIMIT * 4)
    const packed = [{ ...neighbour(), value: bomb }, neighbour()]
    neighbours.splice(-2)
    const [sent] = await producer.send({ topic, compression: kafkajs.CompressionTypes.GZIP, messages: packed })
    for (const [i, name] of ['a gzip bomb', 'another record of its batch'].entries()) {
      const expected = { verdict: 'quarantined', reason: 'undecodable' }
      const position = `p${PARTITION}:${Number(sent?.baseOffset) + i}`
      written.push({ name, key: null, value: null, expected, nobodys: true, position })
    }
    await producer.send({ topic, compression: kafkajs.CompressionTypes.GZIP, messages: [neighbour(), neighbour()] })

    // A transaction's records, then its end, which is a record of the log too. Some are the last ones of their partition.
    for (const [partition, end, after] of [
      [PARTITION, 'commit', true],
      [PARTITION, 'abort', true],
      [PARTITION, 'abort', false],
      [PARTITION + 1, 'commit', false],
    ] as const) {
      const execution = hostile.executionsOf(partition)(`${end} ${after}`)
      const value = codec.encode(event({ tenant: TENANT, execution_id: execution }))
      const at = (await ends())[partition]?.high ?? 0
      await kafka.transaction([{ topic, partition, key: execution, value }], end)
      const expected = { verdict: 'quarantined', reason: 'transactional' }
      written.push({ name: `a transaction: ${end}`, key: null, value: null, expected, position: `p${partition}:${at}` })
      if (after) await write(neighbour())
    }

    // One that is never ended holds up nobody: what comes after it is read, and it is quarantined as any other.
    const partition = PARTITION + 2
    const execution = hostile.executionsOf(partition)('open')
    const value = codec.encode(event({ tenant: TENANT, execution_id: execution }))
    const [begun] = await transaction.send({ topic, messages: [{ partition, key: execution, value }] })
    const expected = { verdict: 'quarantined', reason: 'transactional' }
    written.push({ name: 'an open transaction', key: null, value: null, expected, position: `p${partition}:${begun?.baseOffset}` })
    const next = hostile.executionsOf(partition)('after it')
    neighbours.push(next)
    await write({ partition, key: next, value: codec.encode(event({ tenant: TENANT, execution_id: next })) })
  })

  await t.test('the recorder comes to the end of the log', async (t) => {
    const newest = (await ends()).filter(({ high }) => high > 0).map(({ partition, high }) => `p${partition}:${high}`)
    const watermark = async () => (await owner.get('/v1/verdicts?limit=1')).headers.get('refold-watermark')?.split(',') ?? []
    await until(async () => (await watermark()).filter((one) => !one.endsWith(':0')).join() === newest.join(), {
      within: 60_000,
      every: 100,
      what: `a watermark of ${newest.join()}`,
    })
    t.pass(newest.join())
    t.equal((await owner.get('/v1/verdicts')).headers.get('refold-lag'), '0', 'and nothing lags, though a transaction is open')
  })

  await t.test('each has its verdict, seen by whom it concerns', async (t) => {
    const [owners, operators, strangers] = await Promise.all([owner, operator, stranger].map(verdictsOf))
    for (const { name, position, expected, nobodys } of written) {
      if (expected.verdict === 'accepted') {
        t.match((await owner.get(`/v1/verdicts/${position}`)).json(), { verdict: 'accepted' }, `${name}: accepted`)
        continue
      }
      const [seen, unseen] = nobodys ? [operators, owners] : [owners, operators]
      t.match(seen?.get(position), { ...expected, detail: /./, tenant: nobodys ? null : TENANT }, `${name}: ${expected.verdict}`)
      t.notOk(unseen?.has(position), `${name}: ${nobodys ? 'not shown to a tenant' : "not shown to another tenant's operator"}`)
    }
    const refused = written.filter(({ expected }) => expected.verdict !== 'accepted').map(({ position }) => position)
    t.same([...(owners?.keys() ?? []), ...(operators?.keys() ?? [])].toSorted(), refused.toSorted(), 'and nothing else has one')
    t.equal(strangers?.size, 0)
    type Incidents = { incidents: { kind: string; evidence: { reason: string } }[] }
    const reasons = async (rest: Rest) =>
      new Set(((await rest.get('/v1/incidents?limit=500')).json() as Incidents).incidents.map(({ evidence }) => evidence.reason))
    const quarantined = (nobodys: boolean) =>
      written
        .filter((one) => one.expected.verdict === 'quarantined' && (one.nobodys ?? false) === nobodys)
        .map(({ expected }) => expected.reason)
    t.same(await reasons(owner), new Set(quarantined(false)), 'each reason is an incident')
    t.same(await reasons(operator), new Set(quarantined(true)))
    t.same(await reasons(stranger), new Set())
  })

  await t.test('their neighbours are accepted', async (t) => {
    const wrong: string[] = []
    for (const execution of neighbours) {
      const { status, text } = await owner.get(`/v1/executions/${execution}`)
      if (status !== 200 || (JSON.parse(text) as { lastSeq: number }).lastSeq !== 1) wrong.push(`${execution}: ${text}`)
    }
    t.same(wrong, [], `${neighbours.length} neighbours`)
    const state = await owner.get(`/v1/executions/${executionOf('proto')}`)
    t.match(state.text, '"data":{"constructor":{"prototype":{"polluted":true}},"safe":1}', '__proto__ is left out of the state')
    t.match((await owner.get(`/v1/executions/${executionOf('proto')}/events`)).text, PROTO_PAYLOAD, 'and stays in the history')
    const { payload, ...texts } = hostile.COPY_SIGNS
    const signs = await owner.get(`/v1/executions/${executionOf('copy')}/events`)
    t.match(signs.json(), { events: [texts] }, 'signs of COPY are texts')
    t.match(signs.text, `"payload":${payload}`)
    t.match((await owner.get(`/v1/executions/${executionOf('copy')}`)).json(), { currentState: 'a\\tb', data: { '\\N': '\\.\n\t\\' } })
    t.match((await owner.get(`/v1/executions/${executionOf('timer')}`)).json(), { lastSeq: 2, workflow: 'order' })
  })

  await t.test('what is mended is redriven and accepted', async (t) => {
    const at = (name: string) => written.find((one) => one.name === name)?.position ?? ''
    const redrive = (rest: Rest, position: string) => rest.post(`/v1/verdicts/${position}/redrive`, undefined, { prefer: 'wait=30' })
    const misplaced = at('a wrong partition')
    for (const other of [stranger, operator]) t.equal((await redrive(other, misplaced)).status, 404, 'by its owner only')
    const moved = await redrive(owner, misplaced)
    t.equal(moved.status, 202)
    t.match(moved.json(), { redriven: misplaced, verdict: 'accepted', seq: 1, position: new RegExp(`^p${PARTITION + 1}:`) })
    t.match((await redrive(owner, misplaced)).json(), { verdict: 'duplicate' }, 'once more is a duplicate')
    t.match(
      (await owner.get(`/v1/verdicts/${misplaced}`)).json(),
      { verdict: 'quarantined', reason: 'wrong-partition' },
      'the old verdict stays',
    )

    const later = at('a schema that comes later')
    registry.hidden.clear()
    t.match((await redrive(owner, later)).json(), { status: 404 }, "nobody's record is the operators'")
    // The recorder remembers for some seconds that the registry did not know the id.
    const name = 'a schema that comes later'
    let told = ''
    const accepted = async () => {
      const again = await redrive(operator, later)
      const found = await owner.get(`/v1/executions/${executionOf(name)}`)
      told = `${again.text} ${found.text}`
      return again.status === 202 && found.status === 200
    }
    await until(accepted, { within: 30_000, every: 2000, what: () => `${name}: ${told}` })
    t.match((await owner.get(`/v1/executions/${executionOf(name)}`)).json(), { lastSeq: 1 })
    t.equal((await redrive(owner, at('one byte under max.message.bytes'))).status, 413)
    t.equal((await redrive(operator, at('no value'))).status, 409)
  })
})
