// Load on workflow engines over HTTP, and what it takes of the machine's CPU; shared by workflows.ts and peers.ts.

import { readdirSync, readFileSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import type { Ground } from './ground.ts'
import { millis, percentile, rate, say } from './measure.ts'
import { type Server, TOKEN } from './server.ts'

export const agent = new Agent({ keepAlive: true, maxSockets: 1000 })

export type Ended = { executionId: string; status: string; result: unknown }

/** One request with a JSON body; rejects on a status of 400 or more. */
export function askJson<T>(
  url: string,
  method: string,
  path: string,
  body?: object,
  more: Readonly<Record<string, string>> = {},
): Promise<T> {
  const text = body === undefined ? '' : JSON.stringify(body)
  const { hostname, port } = new URL(url)
  const headers = { ...more, 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ agent, hostname, port, method, path, headers }, (response) => {
      let answer = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk))
      response.once('end', () => {
        const status = response.statusCode ?? 0
        if (status >= 400) reject(new Error(`${method} ${path}: ${status} ${answer}`))
        else resolve((answer === '' ? null : JSON.parse(answer)) as T)
      })
    })
    sent.once('error', reject)
    sent.end(text)
  })
}

const ask = ({ url }: Server, method: string, path: string, body?: object, wait = 60): Promise<Ended> =>
  askJson(url, method, path, body, { authorization: `Bearer ${TOKEN}`, ...(wait > 0 ? { prefer: `wait=${wait}` } : {}) })

export const start = (server: Server, workflow: string, input?: unknown, wait = 60) =>
  ask(server, 'POST', '/v1/executions', { workflow, version: '1', input }, wait)
export const result = (server: Server, id: string) => ask(server, 'GET', `/v1/executions/${id}/result`)
export const go = (server: Server, id: string) => ask(server, 'POST', `/v1/executions/${id}/events`, [{ event_name: 'go', payload: 1 }], 0)

/** Names of processes in /proc: Node calls its main thread, and with it the process, MainThread. */
const KINDS = { node: /^(MainThread|node)/, java: /^java/, postgres: /^postgres/, redis: /^redis/, restate: /^restate/ } as const
type Kind = keyof typeof KINDS
type Cpu = Record<Kind, number>

/** CPU by kind of process of this machine so far, ms: client, Refold and all servers (and whoever else works here). */
export function cpuOfAll(): Cpu {
  const cpu: Cpu = { node: 0, java: 0, postgres: 0, redis: 0, restate: 0 }
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const comm = readFileSync(`/proc/${pid}/comm`, 'utf8')
      const kind = (Object.keys(KINDS) as Kind[]).find((one) => KINDS[one].test(comm))
      if (!kind) continue
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
      cpu[kind] += (Number(fields[11]) + Number(fields[12])) * 10
    } catch {
      continue // it ended meanwhile
    }
  }
  return cpu
}

/** What each of so many took since `before`. */
export function cpuSince(before: Cpu, count: number): string {
  const after = cpuOfAll()
  const kinds = (Object.keys(KINDS) as Kind[]).map((kind) => ({ kind, each: (after[kind] - before[kind]) / count }))
  const all = kinds.reduce((sum, { each }) => sum + each, 0)
  return `CPU ${all.toFixed(1)} ms each (${kinds.map(({ kind, each }) => `${kind} ${each.toFixed(1)}`).join(', ')})`
}

export async function closedLoop(clients: number, seconds: number, one: () => Promise<unknown>) {
  const times: number[] = []
  const cpu = cpuOfAll()
  const began = performance.now()
  const until = began + seconds * 1000
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let at = performance.now(); at < until; at = performance.now()) {
        await one()
        times.push(performance.now() - at)
      }
    }),
  )
  const took = performance.now() - began
  return { perSecond: (times.length * 1000) / took, times, cpu: cpuSince(cpu, times.length) }
}

export function tell(name: string, { perSecond, times, cpu }: Awaited<ReturnType<typeof closedLoop>>): void {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => millis(percentile(times, share)))
  say(`    ${name.padEnd(6)} ${rate(perSecond).padEnd(9)} p50 ${p50}, p95 ${p95}, p99 ${p99}; ${cpu}`)
}

export const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now()
  await work()
  return performance.now() - began
}

/** Until what was started waits for its signal: that is not what is measured. */
export const settled = () => pause(30)

export async function signalToResult(server: Server): Promise<number> {
  const { executionId } = await start(server, 'signal', null, 0)
  const ended = result(server, executionId)
  await settled()
  return timed(async () => {
    await go(server, executionId)
    await ended
  })
}

/** So many steps of one execution, which waits for `go` then; `each`: ms a step, as the log tells it from its first record to its last. */
export async function stepsInARow(ground: Ground, server: Server, count: number) {
  const { executionId } = await start(server, 'steps', { count }, 0)
  const before = cpuOfAll()
  // Asked of Postgres: the server is not kept from its work by the question.
  for (let seq = 0; seq < 2 * count + 2;) {
    await pause(20)
    const { rows } = await ground.admin.query<{ seq: string }>('SELECT seq FROM refold.execution_heads WHERE execution_id = $1', [
      executionId,
    ])
    seq = Number(rows[0]?.seq ?? 0)
  }
  const cpu = cpuSince(before, count)
  // As the log tells it: when the audit has it is not what is measured.
  const { rows } = await ground.admin.query<{ took: string }>(
    'SELECT extract(epoch FROM max(appended_at) - min(appended_at)) * 1000 AS took FROM refold.workflow_events WHERE execution_id = $1',
    [executionId],
  )
  return { each: Number(rows[0]?.took) / count, cpu, executionId }
}

/** Of 200 timers of 1 s, how late each was, ms. */
export const timersLate = (server: Server): Promise<number[]> =>
  Promise.all(Array.from({ length: 200 }, async () => Number((await start(server, 'timer')).result)))

/** As peers do that fsync before they answer. */
export async function fsyncEach({ addresses, prefix }: Pick<Ground, 'addresses' | 'prefix'>): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: addresses.kafkaBrokers, clientId: 'bench', logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(`${prefix}.`))
  const type = kafkajs.ConfigResourceTypes.TOPIC
  const made = await admin.describeConfigs({ includeSynonyms: false, resources: topics.map((name) => ({ type, name })) })
  await admin.alterConfigs({
    validateOnly: false,
    // AlterConfigs replaces the whole set: what the topic was made with goes along, or producers would time its records, and they would go.
    resources: made.resources.map(({ resourceName: name, configEntries }) => ({
      type,
      name,
      configEntries: [
        ...configEntries
          .filter(({ configName, configSource }) => configSource === kafkajs.ConfigSource.TOPIC_CONFIG && configName !== 'flush.messages')
          .map(({ configName, configValue }) => ({ name: configName, value: configValue })),
        { name: 'flush.messages', value: '1' },
      ],
    })),
  })
  await admin.disconnect()
  say(`  flush.messages=1 on ${topics.length} topics`)
}
