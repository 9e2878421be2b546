// Kafka in KRaft mode: one broker, or three that are broker and controller each, so that any one may be killed.

import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { RefoldError } from '../errors.ts'
import { requireJava } from './java.ts'
import { dependency, fetchPart } from './parts.ts'
import type { Part } from './parts.ts'
import { HOST } from './ports.ts'
import { ask } from './probe.ts'
import { launch } from './process.ts'
import { untilAnswers } from './server.ts'
import type { Server, Start } from './server.ts'
import type { ServerName } from './state.ts'

const VERSION = '4.3.1'

const PART: Part = {
  name: 'kafka',
  version: VERSION,
  megabytes: 55,
  dependencies: [
    dependency({ group: 'org.apache.kafka', artifact: 'kafka_2.13', version: VERSION }),
    // kafka-consumer-groups and its like, with which an operator resets a projection's offsets.
    dependency({ group: 'org.apache.kafka', artifact: 'kafka-tools', version: VERSION }),
    // Without a binding the broker logs nothing.
    dependency({ group: 'org.apache.logging.log4j', artifact: 'log4j-slf4j-impl', version: '2.25.4' }),
  ].join(''),
  as: 'jars',
  fetched: ['org/apache/kafka', 'org/rocksdb', 'org/scala-lang', 'com/github/luben', 'org/xerial'],
}

const NAMES = ['kafka', 'kafka-2', 'kafka-3'] as const satisfies readonly ServerName[]

type Ports = { broker: number; controller: number }

/** The brokers of a stack, one or three. They choose their ports together, since each must know all controllers. */
export function kafka(count: 1 | 3): Server[] {
  let ports: Promise<Ports[]> | undefined
  const choose = async (start: Start) => {
    const chosen: Ports[] = []
    for (let node = 0; node < count; node++)
      chosen.push({ broker: await start.port(9092 + 2 * node), controller: await start.port(9093 + 2 * node) })
    return chosen
  }
  return NAMES.slice(0, count).map((name, index) => ({
    name,
    env: 'KAFKA_BROKERS',
    stop: { signal: 'SIGTERM', patience: 15_000 },
    start: async (start) => startBroker(name, index + 1, await (ports ??= choose(start)), start),
    answers,
  }))
}

async function startBroker(name: ServerName, node: number, ports: readonly Ports[], { folder, secrets, log, say }: Start) {
  const java = requireJava(17, 'Kafka')
  const jars = await fetchPart(PART, say)
  const all = path.join(folder, 'data', 'kafka')
  refuseOtherCount(all, ports.length)
  const data = path.join(all, `node-${node}-of-${ports.length}`)
  mkdirSync(data, { recursive: true })
  const properties = path.join(data, 'server.properties')
  writeFileSync(properties, propertiesOf(node, ports, path.join(data, 'log')))
  const logging = path.join(data, 'log4j2.properties')
  writeFileSync(logging, LOGGING)
  const classpath = ['-cp', path.join(jars, '*'), `-Dlog4j2.configurationFile=${logging}`]
  if (!existsSync(path.join(data, 'log', 'meta.properties'))) format(java, classpath, properties, data, secrets.kafkaCluster)
  const heap = ['-Xmx512m', '-Xms128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
  const server = await launch({ command: java, args: [...heap, ...classpath, 'kafka.Kafka', properties], log, cwd: data })
  const address = `${HOST}:${ports[node - 1]!.broker}`
  await untilAnswers(name, server, log, () => answers(address))
  return { ...server, address }
}

function propertiesOf(node: number, ports: readonly Ports[], data: string): string {
  const own = ports[node - 1]!
  const replication = ports.length
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': node,
    'controller.quorum.voters': ports.map(({ controller }, index) => `${index + 1}@${HOST}:${controller}`).join(','),
    listeners: `PLAINTEXT://${HOST}:${own.broker},CONTROLLER://${HOST}:${own.controller}`,
    'advertised.listeners': `PLAINTEXT://${HOST}:${own.broker}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': data,
    'auto.create.topics.enable': false,
    'offsets.topic.num.partitions': 1,
    'offsets.topic.replication.factor': replication,
    'transaction.state.log.num.partitions': 1,
    'transaction.state.log.replication.factor': replication,
    'transaction.state.log.min.isr': replication > 1 ? 2 : 1,
    'share.coordinator.state.topic.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': replication,
    'share.coordinator.state.topic.min.isr': replication > 1 ? 2 : 1,
    'min.insync.replicas': replication > 1 ? 2 : 1,
    // A group of one is complete when it has joined; the default waits 3 s for more.
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    // acks=all waits so long for a broker that died.
    'broker.session.timeout.ms': 3000,
    'broker.heartbeat.interval.ms': 500,
    'controller.quorum.election.timeout.ms': 500,
    'controller.quorum.fetch.timeout.ms': 1500,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.cleaner.dedupe.buffer.size': 8_388_608,
    'log.cleaner.threads': 1,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

const LOGGING = `rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSX}{UTC} %p %m (%c{1})%n
logger.server.name = kafka.server
logger.server.level = INFO
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN
`

function format(java: string, classpath: readonly string[], properties: string, data: string, cluster: string): void {
  // A start cut short leaves a folder without meta.properties, which the broker would refuse.
  rmSync(path.join(data, 'log'), { recursive: true, force: true })
  const args = [
    '-XX:TieredStopAtLevel=1',
    ...classpath,
    'kafka.tools.StorageTool',
    'format',
    '--cluster-id',
    cluster,
    '--config',
    properties,
  ]
  const { status, stdout, stderr } = spawnSync(java, args, { cwd: data, encoding: 'utf8' })
  if (status !== 0) throw new RefoldError('stack-failed', `Kafka's storage could not be formatted: ${stderr}${stdout}`)
}

/** The number of voters is written into a cluster's own state; changing it would need a new cluster. */
function refuseOtherCount(all: string, count: number): void {
  const other = existsSync(all) ? readdirSync(all).find((name) => !name.endsWith(`-of-${count}`)) : undefined
  if (other)
    throw new RefoldError(
      'stack-failed',
      `this stack's log was made with ${other.split('-').at(-1)} brokers, not ${count}. To begin anew, and lose it: npm run refold -- stack down --erase`,
    )
}

/** ApiVersions, version 0: the broker answers it once it serves clients. */
async function answers(address: string): Promise<boolean> {
  const [host, port] = address.split(':')
  const body = Buffer.from([0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]) // key 18, version 0, correlation 1, no client id
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length)
  const answer = await ask(host!, Number(port), Buffer.concat([length, body]))
  return answer !== null && answer.length >= 10 && answer.readInt32BE(4) === 1 && answer.readInt16BE(8) === 0
}
