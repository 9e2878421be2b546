// Kafka in KRaft mode: one broker, or three that are broker and controller each, so that any one may be killed.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { RefoldError } from '../errors.ts'
import { requireJava, serverFlags } from './java.ts'
import { dependency, fetchPart } from './parts.ts'
import type { Part } from './parts.ts'
import { HOST } from './ports.ts'
import { ask } from './probe.ts'
import { PortTaken, untilAnswers } from './server.ts'
import type { Server, Start } from './server.ts'
import type { ServerName } from './state.ts'

export const VERSION = '4.3.1'

export const KAFKA_PART: Part = {
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

export type Ports = { broker: number; controller: number }

/** The brokers of a stack, one or three. They choose their ports together, since each must know all controllers. */
export function kafka(count: 1 | 3): Server[] {
  let chosen: Promise<readonly Ports[]> | undefined
  return NAMES.slice(0, count).map((name, index) => ({
    name,
    env: 'KAFKA_BROKERS',
    stop: { signal: 'SIGTERM', patience: 15_000 },
    start: async (start) => {
      refuseOtherCount(start.folder, count)
      const ports = await (chosen ??= choosePorts(count, start))
      try {
        return await startBroker(name, index + 1, ports, start)
      } catch (error) {
        if (!(error instanceof PortTaken)) throw error
        // Alone it may try others; of three the other two have been told these.
        if (count > 1)
          throw new RefoldError('stack-failed', `another process took ${name}'s port ${error.message} meanwhile; stop both and start again`)
        chosen = undefined
        throw error
      }
    },
    answers,
  }))
}

async function choosePorts(count: number, { folder, port, last, runs }: Start): Promise<readonly Ports[]> {
  const file = path.join(folder, 'data', 'kafka', 'ports.json')
  const saved = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Ports[]) : []
  if (NAMES.some(runs) && saved.length === count) return saved
  const chosen: Ports[] = []
  for (const [index, name] of NAMES.slice(0, count).entries()) {
    const before = last(name) ? saved[index] : undefined
    const broker = await port(9092 + 2 * index, before?.broker)
    chosen.push({ broker, controller: await port(9093 + 2 * index, before?.controller) })
  }
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, JSON.stringify(chosen))
  return chosen
}

async function startBroker(name: ServerName, node: number, ports: readonly Ports[], { folder, secrets, say, launch }: Start) {
  const java = requireJava(17, 'Kafka')
  const jars = await fetchPart(KAFKA_PART, say)
  const data = path.join(folder, 'data', 'kafka', `node-${node}-of-${ports.length}`)
  mkdirSync(data, { recursive: true })
  const properties = path.join(data, 'server.properties')
  writeFileSync(properties, propertiesOf(node, ports, path.join(data, 'log')))
  const logging = path.join(data, 'log4j2.properties')
  writeFileSync(logging, LOGGING)
  const classpath = ['-cp', path.join(jars, '*'), `-Dlog4j2.configurationFile=${logging}`]
  if (!existsSync(path.join(data, 'log', 'meta.properties'))) format(java.path, classpath, properties, data, secrets.kafkaCluster)
  const own = ports[node - 1]!
  const address = `${HOST}:${own.broker}`
  const server = await launch(address, {
    command: java.path,
    // 2 s later up, and then a third less of the processor. Three are for tests of outages, which are short.
    args: [...serverFlags(java, 512, data, ports.length > 1 ? 'start' : 'work'), ...classpath, 'kafka.Kafka', properties],
    cwd: data,
  })
  await untilAnswers({ name, process: server, ports: [own.broker, own.controller], answers: () => answers(address) })
}

export function propertiesOf(node: number, ports: readonly Ports[], data: string): string {
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
function refuseOtherCount(folder: string, count: number): void {
  const made = brokersOf(folder)
  if (made !== undefined && made !== count)
    throw new RefoldError(
      'stack-failed',
      `this stack's log was made with --brokers ${made}. To begin anew, and lose it: npm run refold -- stack down --erase`,
    )
}

/** How many brokers the log of this stack was made with. */
export function brokersOf(folder: string): 1 | 3 | undefined {
  const made = ([1, 3] as const).filter((count) => existsSync(path.join(folder, 'data', 'kafka', `node-1-of-${count}`)))
  return made[0]
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
