import { createServer, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { knownAddresses } from '../../cli/doctor.ts'
import { judgeKafka, topicCommand } from '../../cli/doctor/kafka.ts'
import { clock, type Finding, look } from '../../cli/doctor/finding.ts'
import { lookAtNode, lookAtPort } from '../../cli/doctor/machine.ts'
import { judgeRedis, judgeRegistry } from '../../cli/doctor/others.ts'
import { judgeLog, judgePostgres } from '../../cli/doctor/postgres.ts'
import { judgeProjections } from '../../cli/doctor/projections.ts'
import { readConfig } from '../../config.ts'
import type { TopicLook } from '../../kafka/look.ts'
import { EVENTS_SETTINGS } from '../../kafka/topics.ts'
import type { PostgresLook, ProjectionLook } from '../../postgres/look.ts'
import { executionOf, useWorld } from '../support/projection-world.ts'
import { runRefold, startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(240_000)

const answer = z.object({
  status: z.enum(['ok', 'warn', 'wrong']),
  findings: z.array(
    z.object({ name: z.string(), level: z.enum(['ok', 'warn', 'wrong']), found: z.string(), todo: z.string().exactOptional() }),
  ),
})

async function doctor(env: NodeJS.ProcessEnv) {
  const { code, stdout, stderr } = await runRefold(['doctor', '--json'], env)
  if (stdout === '') throw new Error(`refold doctor ended with ${code}: ${stderr}`)
  const { status, findings } = answer.parse(JSON.parse(stdout))
  const about = (name: string) => findings.filter((one) => one.name === name)
  return { code, status, findings, about }
}

/** Starts to listen on a port of its own, until the test ends. */
async function portOf(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => server.close())
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  return address.port
}

const bad = (findings: readonly Finding[]) => findings.filter(({ level }) => level !== 'ok')

void t.test('on real servers', { timeout: 240_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!addresses.databaseUrl) return
  const { env, database } = await useInstallation(t, addresses, 'doctor-token=demo')
  env['REFOLD_PARTITIONS'] = '3'
  const topic = `${env['REFOLD_TOPIC_PREFIX']}.events`

  await t.test('before the first start: what is missing is said, nothing is wrong, nothing is made', async (t) => {
    const { code, status, about } = await doctor(env)
    t.equal(code, 0)
    t.equal(status, 'warn')
    t.match(about('kafka'), [{ level: 'ok', found: /^4\.\d+, 1 broker, / }])
    t.match(about('topic'), [{ level: 'warn', found: `${topic} does not exist yet` }])
    t.match(about('schema'), [{ level: 'warn' }])
    t.match(about('migrations'), [{ level: 'warn' }])
    t.match(about('registry'), [{ level: 'ok', found: /\d+\.\d+/ }])
    t.match((await doctor(env)).about('topic'), [{ level: 'warn' }], 'looking made no topic')
    const { rows } = await database.admin.query("SELECT to_regclass('public.refold_migrations') AS made")
    t.same(rows, [{ made: null }], 'looking migrated nothing')
  })

  await t.test('where topics are made by an administrator, a missing one is wrong, with the command that makes it', async (t) => {
    const { code, about } = await doctor({ ...env, REFOLD_CREATE_TOPICS: 'false' })
    t.equal(code, 1)
    t.match(about('topic'), [{ level: 'wrong', todo: /^kafka-topics\.sh .* --create --topic .* --partitions 3 .*retention\.ms=-1/ }])
  })

  await t.test('while it runs: all is well, its port is known as ours', async (t) => {
    const { url, stop } = await startRefold(t, { env, database }, 'api,recorder')
    const { code, status, findings, about } = await doctor({ ...env, REFOLD_PORT: new URL(url).port })
    t.same(bad(findings), [])
    t.equal(status, 'ok')
    t.equal(code, 0)
    t.match(about('api port'), [{ found: /a Refold API, ready/ }])
    t.match(about('topic'), [{ found: `${topic}: 3 partitions, replication 1` }])
    t.match(about('schema'), [{ found: /1 version, BACKWARD$/ }])
    t.match(about('log'), [{ found: `${topic}, pinned at 3 partitions` }])
    t.match(about('checkpoints'), [{ found: 'at the end of the log' }])
    const told = await runRefold(['doctor'], env)
    t.equal(told.code, 0)
    t.match(told.stdout, /^ok +kafka +4\.\d+, /m)
    t.match(told.stdout, /\n\d+ ok, 0 to look at, 0 wrong\n$/)
    await stop()
  })

  await t.test('one dead broker in the list hides no other', async (t) => {
    const dead = createServer()
    const port = await portOf(t, dead)
    dead.close()
    const { about } = await doctor({ ...env, KAFKA_BROKERS: `127.0.0.1:${port},${addresses.kafkaBrokers.join(',')}` })
    t.match(about('kafka'), [{ level: 'ok' }])
  })

  await t.test('what was spoiled is found', async (t) => {
    await database.admin.query("UPDATE public.refold_migrations SET digest = 'another' WHERE name LIKE '0002%'")
    await database.admin.query("INSERT INTO public.refold_migrations (name, digest) VALUES ('9999-future.sql', 'x')")
    await database.admin.query(
      "INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('recorder', 1, 77) ON CONFLICT (reader, partition) DO UPDATE SET next_offset = 77",
    )
    await fetch(`${addresses.registryUrl}/config/${topic}-value`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: '{"compatibility":"NONE"}',
    })
    const { code, about } = await doctor(env)
    t.equal(code, 1)
    t.match(about('migrations'), [
      { level: 'wrong', found: /0002-.*another file/ },
      { level: 'wrong', found: /newer version ran here: 9999-future\.sql/ },
    ])
    t.match(about('checkpoints'), [{ level: 'wrong', found: 'outside the log: p1: 77 is not in 0–0', todo: /log-replaced/ }])
    t.match(about('schema'), [{ level: 'wrong', found: /NONE/, todo: /^curl -X PUT .*BACKWARD/ }])
    t.match((await doctor({ ...env, REFOLD_TOPIC_PREFIX: 'another' })).about('log'), [{ level: 'wrong', found: /folded from test-/ }])
  })
})

void t.test(
  'projections on real servers: parked, folded by nobody, with an operation that nobody takes up',
  { timeout: 240_000 },
  async (t) => {
    const world = await useWorld(t)
    if (!world) return
    const { env, database } = world.installation
    const about = async () => bad((await doctor(env)).about('projections'))
    const projector = await world.project('fragile')
    await world.send(0, 5)
    await world.caughtUp('cases', 20)
    await until(async () => (await world.show('handled')).foldedBy === 1, { what: 'the process to say what it folds' })
    t.same(await about(), [], 'all is well')
    await world.rest.send([{ execution_id: executionOf(5), event_name: 'poison' }])
    await until(async () => (await world.show('cases')).parked.length > 0, { within: 60_000, what: 'cases to stand' })
    t.match(await about(), [
      { level: 'wrong', found: /^cases generation 1 is parked at p\d+:\d+$/, todo: /refold incidents; .*projection skip cases --reason/ },
    ])
    await projector.stop()
    await world.ask('states', 'rebuild')
    await database.admin.query("UPDATE refold.operations SET changed_at = now() - interval '2 minutes'")
    const found = await about()
    for (const name of ['cases', 'states', 'handled'])
      t.match(
        found.find((one) => one.found.startsWith(`no process folds ${name}:`)),
        { level: 'warn', todo: new RegExp(`defines ${name} version 1: .*--roles projector`) },
      )
    t.match(
      found.find((one) => one.found.startsWith('rebuild of states')),
      { level: 'warn', found: /: requested, nothing was done for 12\d s$/, todo: /refold operation watch [0-9a-f-]{36}/ },
    )
    t.equal(found.length, 5)
  },
)

void t.test('servers that are away, or take a connection and say nothing, are findings, and it ends', { timeout: 120_000 }, async (t) => {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket))
  const silent = await portOf(t, server)
  t.teardown(() => sockets.forEach((socket) => socket.destroy()))
  const gone = createServer()
  const closed = await portOf(t, gone)
  gone.close()
  const at = (where: number) => ({
    ...process.env,
    REFOLD_STACK: t.testdir(),
    REFOLD_PORT: '0',
    KAFKA_BROKERS: `127.0.0.1:${where}`,
    SCHEMA_REGISTRY_URL: `http://someone:secret@127.0.0.1:${where}`,
    DATABASE_URL: `postgres://someone:secret@127.0.0.1:${where}/none`,
    REDIS_URL: `redis://:secret@127.0.0.1:${where}`,
  })
  for (const [where, reason] of [
    [closed, /^does not answer: .*ECONNREFUSED/],
    [silent, /^does not answer: no answer within \d s$/],
  ] as const) {
    const { code, findings, about } = await doctor(at(where))
    t.equal(code, 1)
    for (const name of ['kafka', 'registry', 'postgres', 'redis'])
      t.match(about(name), [{ level: 'wrong', found: reason, todo: /^Check [A-Z_]+, and that the server runs\.$/ }], name)
    t.notMatch(JSON.stringify(findings), 'secret', 'no password is shown')
  }
})

void t.test('no servers are known: says how to start them', async (t) => {
  const stack = t.testdir()
  const none = { KAFKA_BROKERS: '', SCHEMA_REGISTRY_URL: '', DATABASE_URL: '', REDIS_URL: '' }
  const { code, about } = await doctor({ ...process.env, ...none, REFOLD_STACK: stack, REFOLD_PORT: '0' })
  t.equal(code, 1)
  for (const name of ['kafka', 'registry', 'postgres', 'redis'])
    t.match(about(name), [{ level: 'wrong', todo: /^npm run refold -- stack up/ }], name)
})

const config = readConfig({})
const topicLook = (changes: Partial<TopicLook> = {}): TopicLook => ({
  partitions: 12,
  replication: 1,
  leaderless: [],
  underReplicated: [],
  settings: new Map(Object.entries({ ...EVENTS_SETTINGS, 'max.message.bytes': '1048588' })),
  bounds: Array.from({ length: 12 }, (_, partition) => ({ partition, low: 0, high: 10 })),
  ...changes,
})
const kafkaBad = (topic: Partial<TopicLook>, env: Record<string, string> = {}) =>
  bad(judgeKafka({ release: '4.3', brokers: 1, latency: 1, topic: topicLook(topic) }, readConfig(env), 'refold.events', ['k:9092']))
const setting = (name: string, value: string) => ({ settings: new Map([...topicLook().settings, [name, value]]) })

void t.test('topic: what loses records is wrong, what costs speed is a warning, each with its command', async (t) => {
  t.same(kafkaBad({}), [])
  t.match(kafkaBad(setting('retention.ms', '604800000')), [
    {
      level: 'wrong',
      todo: 'kafka-configs.sh --bootstrap-server k:9092 --alter --entity-type topics --entity-name refold.events --add-config retention.ms=-1',
    },
  ])
  t.match(kafkaBad(setting('message.timestamp.type', 'CreateTime')), [{ level: 'wrong' }])
  t.match(kafkaBad(setting('compression.type', 'producer')), [{ level: 'warn' }])
  t.match(kafkaBad(setting('max.message.bytes', '1000')), [{ level: 'warn', todo: /max\.message\.bytes=1048588$/ }])
  t.match(kafkaBad({ leaderless: [3, 5] }), [{ level: 'wrong', found: 'partitions 3, 5 have no leader' }])
  t.match(kafkaBad({ underReplicated: [1] }), [{ level: 'warn' }])
  t.match(kafkaBad({}, { REFOLD_REPLICATION: '3' }), [{ name: 'replicas' }, { found: /^min\.insync\.replicas is unknown/ }])
  t.match(topicCommand(readConfig({ REFOLD_REPLICATION: '3' }), 'refold.events', ['k:9092']), '--config min.insync.replicas=2')
})

const database = (changes: Partial<PostgresLook> = {}): PostgresLook => ({
  version: '18.4',
  user: 'someone',
  mayMigrate: true,
  encoding: 'UTF8',
  clockDifference: 0,
  latency: 1,
  migrations: [{ name: '0001-record.sql', state: 'applied' }],
  roles: [
    { name: 'refold_engine', exists: true, granted: true, bypassesRls: true },
    { name: 'refold_api', exists: true, granted: true, bypassesRls: false },
  ],
  log: { topic: 'refold.events', partitions: 12 },
  checkpoints: new Map([[0, 10]]),
  schemas: new Map(),
  projections: [],
  ...changes,
})

void t.test('roles: missing, not granted, or with the wrong reach', async (t) => {
  const [engine, api] = database().roles
  if (!engine || !api) throw new Error('two roles')
  t.same(bad(judgePostgres(database())), [])
  const found = (roles: PostgresLook['roles']) => bad(judgePostgres(database({ roles })))
  t.match(found([{ ...engine, exists: false }, api]), [{ name: 'role refold_engine', level: 'wrong' }])
  t.match(found([{ ...engine, granted: false }, api]), [{ level: 'wrong', todo: 'GRANT refold_engine TO someone' }])
  t.match(found([{ ...engine, bypassesRls: false }, api]), [{ level: 'wrong', todo: /ALTER ROLE refold_engine BYPASSRLS/ }])
  t.match(found([engine, { ...api, bypassesRls: true }]), [{ level: 'wrong', found: /tenants are not kept apart/ }])
})

void t.test('database: too old, another encoding, or a role that may not migrate', async (t) => {
  const found = (changes: Partial<PostgresLook>) => bad(judgePostgres(database(changes)))
  t.match(found({ version: '15.2' }), [{ name: 'postgres', level: 'wrong' }])
  t.match(found({ encoding: 'SQL_ASCII' }), [{ name: 'postgres', level: 'wrong' }])
  t.match(found({ migrations: [{ name: '0001-record.sql', state: 'missing' }], mayMigrate: false }), [
    { level: 'wrong', todo: 'GRANT CREATE ON DATABASE … TO someone' },
  ])
})

void t.test('log: another topic, another count, a topic that is gone, checkpoints beyond the end or below the start', async (t) => {
  const found = (topic: TopicLook | null | undefined, look = database(), given = config) =>
    bad(judgeLog(look, topic, 'refold.events', given))
  t.same(found(topicLook()), [])
  t.same(found(undefined), [], 'Kafka away: said elsewhere')
  t.match(found(null), [{ level: 'wrong', found: /is gone/ }])
  t.match(found(topicLook({ partitions: 6 })), [{ level: 'wrong', found: /has 6 partitions, it had 12/ }])
  t.match(found(topicLook(), database({ log: { topic: 'other.events', partitions: 12 } })), [{ level: 'wrong' }])
  t.match(found(topicLook(), database({ checkpoints: new Map([[2, 11]]) })), [{ found: 'outside the log: p2: 11 is not in 0–10' }])
  const cut = topicLook({ bounds: [{ partition: 0, low: 5, high: 10 }] })
  t.match(found(cut, database({ checkpoints: new Map([[0, 4]]) })), [{ level: 'wrong', found: /p0: 4 is not in 5–10/ }])
  t.match(found(topicLook(), database(), readConfig({ REFOLD_PARTITIONS: '24' })), [{ level: 'warn', todo: /REFOLD_PARTITIONS=12$/ }])
})

const projectionLook = (changes: Partial<ProjectionLook> = {}): ProjectionLook => ({
  name: 'cases',
  version: 1,
  isStopped: false,
  foldedBy: 1,
  parked: [],
  operation: null,
  ...changes,
})

void t.test('projections: what stands still is said; what a person stopped, or waits for one, is not', async (t) => {
  const found = (changes: Partial<ProjectionLook>) => bad(judgeProjections([projectionLook(changes)]))
  const operation = { id: 'o', kind: 'rebuild', state: 'building', wanted: null, quiet: 61_000, generation: 2, version: 7, unfolded: false }
  t.same(judgeProjections([]), [])
  t.match(judgeProjections([projectionLook()]), [{ level: 'ok', found: '1, none stands still' }])
  t.match(found({ foldedBy: 0 }), [{ level: 'warn', found: /^no process folds cases/ }])
  t.same(found({ foldedBy: 0, isStopped: true }), [])
  t.same(found({ foldedBy: null }), [], 'the recorder folds its own')
  const parked = [1, 2].flatMap((generation) => ['p1:5', 'p3:7'].map((position) => ({ generation, isLive: generation === 1, position })))
  t.match(found({ parked, operation }), [
    { level: 'wrong', found: 'cases generation 1 is parked at p1:5, p3:7' },
    { level: 'warn', found: 'cases generation 2 is parked at p1:5, p3:7' },
  ])
  t.match(found({ operation }), [{ level: 'warn', found: 'rebuild of cases: building, nothing was done for 61 s' }])
  t.same(found({ operation: { ...operation, quiet: 5000 } }), [])
  t.same(found({ operation: { ...operation, state: 'ready' } }), [])
  t.match(found({ operation: { ...operation, state: 'ready', wanted: 'promote' } }), [{ level: 'warn' }])
  t.match(found({ foldedBy: null, operation }), [{ todo: /--roles recorder/ }])
  t.match(found({ version: 8, operation }), [{ todo: /defines cases version 7: / }], 'of the generation that it waits for')
  const requested = { ...operation, state: 'requested', generation: null, version: null }
  const of = (generation: number) => parked.filter((one) => one.generation === generation)
  const told = (places: typeof parked, state: string) => found({ parked: places, operation: { ...operation, state } }).length
  t.equal(told(of(2), 'building'), 1, 'why it stands is said once')
  t.equal(told(of(1), 'building'), 2, 'the live one holds none that is built')
  t.equal(told(of(1), 'comparing'), 1, 'only a comparison waits for it')
  t.match(found({ operation: requested }), [{ todo: /defines cases: / }], 'before it has one, any version takes it up')
  const unfolded = { ...operation, quiet: 0, unfolded: true }
  for (const state of ['building', 'ready', 'promoting'])
    t.match(found({ operation: { ...unfolded, state } }), [
      {
        level: 'warn',
        found: `rebuild of cases: ${state}, no process folds generation 2`,
        todo: /cases version 7: .*operation watch o shows/,
      },
    ])
  // The live one may be what is parked, and this the way back.
  t.match(found({ parked, operation: unfolded }), [{ level: 'wrong' }, {}, { todo: /cases version 7: / }])
})

void t.test('registry: a schema that is gone, another one under its id, or no compatibility', async (t) => {
  const subject = { versions: 1, newest: { id: 7, text: '{"type": "string"}' }, compatibility: 'BACKWARD', isEnough: true }
  const found = (changes: object, known?: Map<number, string>) =>
    bad(judgeRegistry({ address: 'http://r', version: 'x', latency: 1, subject, ...changes }, 'refold.events-value', known))
  t.same(found({}), [])
  t.same(found({}, new Map([[7, '{"type":"string"}']])), [], 'white space is no difference')
  t.match(found({}, new Map([[7, '"int"']])), [{ level: 'wrong', found: /^id 7 is another schema/ }])
  t.match(found({ subject: null }), [{ level: 'warn' }])
  t.match(found({ subject: null }, new Map()), [{ level: 'wrong', found: /is gone/ }])
  t.match(found({ subject: { ...subject, compatibility: 'NONE', isEnough: false } }), [{ level: 'wrong', todo: /http:\/\/r\/config/ }])
})

void t.test('Redis that throws keys out silently is wrong', async (t) => {
  const redis = { version: '7.4.0', evictionPolicy: 'allkeys-lru', maxMemory: 0, clockDifference: 0, latency: 1 }
  t.match(bad(judgeRedis(redis)), [{ name: 'redis eviction', level: 'wrong', todo: /noeviction$/ }])
  t.same(bad(judgeRedis({ ...redis, evictionPolicy: 'noeviction' })), [])
})

void t.test('clocks a second apart agree; more is a warning, with its direction', async (t) => {
  t.match(clock('c', 900), { level: 'ok' })
  t.match(clock('c', 1500), { level: 'warn', found: "1.5 s ahead of this machine's" })
  t.match(clock('c', -90_000), { level: 'warn', found: "90.0 s behind this machine's" })
})

void t.test('an old Node and a foreign port are wrong', async (t) => {
  t.match(lookAtNode('20.11.1'), { level: 'wrong' })
  const foreign = createServer((socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}'))
  const port = await portOf(t, foreign)
  t.match(await lookAtPort(readConfig({ REFOLD_PORT: String(port) })), { level: 'wrong', found: `${port} is taken by something else` })
})

void t.test('a look that never ends is given up', async (t) => {
  const { promise } = Promise.withResolvers<never>()
  t.match(await look('x', 'do it', () => promise), {
    state: 'failed',
    finding: { level: 'wrong', found: /no answer within/, todo: 'do it' },
  })
})

void t.test('one server that is not known hides no other', async (t) => {
  t.same(knownAddresses(readConfig({ REDIS_URL: 'redis://r' }), null), { redisUrl: 'redis://r' })
  t.same(knownAddresses(readConfig({ KAFKA_BROKERS: 'a:1, b:2' }), null), { brokers: ['a:1', 'b:2'] })
})
