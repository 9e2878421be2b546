// Workflows over REST, as users run them: all roles in one process, three no-op steps and what else peers are measured by.
// Durable when the client was answered: every record acknowledged by Kafka (one broker: in its page cache).

import { Agent, request as httpRequest } from 'node:http'
import { readdirSync, readFileSync } from 'node:fs'
import kafkajs from 'kafkajs'
import { startBareWorkflows } from './bare-workflow.ts'
import type { Ground } from './ground.ts'
import { hops } from './hops.ts'
import { type Bench, type BenchOptions, introduce, millis, percentile, rate, say } from './measure.ts'
import { type Server, startAll, TOKEN } from './server.ts'

const CLIENTS = [1, 16, 64, 256]
const APP = 'bench/workflow-app.ts'
const ROLES = 'api,recorder,runtime,worker'
const agent = new Agent({ keepAlive: true, maxSockets: 1000 })

type Ended = { executionId: string; status: string; result: unknown }

function ask(server: Server, method: string, path: string, body?: object, wait = 60): Promise<{ status: number; json: Ended }> {
  const text = body === undefined ? '' : JSON.stringify(body)
  const { hostname, port } = new URL(server.url)
  const headers = {
    authorization: `Bearer ${TOKEN}`,
    ...(wait > 0 ? { prefer: `wait=${wait}` } : {}),
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  }
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ agent, hostname, port, method, path, headers }, (response) => {
      let answer = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk))
      response.once('end', () => {
        const status = response.statusCode ?? 0
        if (status >= 400) reject(new Error(`${method} ${path}: ${status} ${answer}`))
        else resolve({ status, json: JSON.parse(answer) as Ended })
      })
    })
    sent.once('error', reject)
    sent.end(text)
  })
}

const start = (server: Server, workflow: string, input?: unknown, wait = 60) =>
  ask(server, 'POST', '/v1/executions', { workflow, version: '1', input }, wait)
const result = (server: Server, id: string) => ask(server, 'GET', `/v1/executions/${id}/result`)
const go = (server: Server, id: string) => ask(server, 'POST', `/v1/executions/${id}/events`, [{ event_name: 'go', payload: 1 }], 0)

/** Names of processes in /proc: Node calls its main thread, and with it the process, MainThread. */
const KINDS = { node: /^(MainThread|node)/, java: /^java/, postgres: /^postgres/, redis: /^redis/ } as const
type Kind = keyof typeof KINDS
type Cpu = Record<Kind, number>

/** CPU by kind of process of this machine so far, ms: client, Refold and all servers (and whoever else works here). */
function cpuOfAll(): Cpu {
  const cpu: Cpu = { node: 0, java: 0, postgres: 0, redis: 0 }
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
function cpuSince(before: Cpu, count: number): string {
  const after = cpuOfAll()
  const kinds = (Object.keys(KINDS) as Kind[]).map((kind) => ({ kind, each: (after[kind] - before[kind]) / count }))
  const all = kinds.reduce((sum, { each }) => sum + each, 0)
  return `CPU ${all.toFixed(1)} ms each (${kinds.map(({ kind, each }) => `${kind} ${each.toFixed(1)}`).join(', ')})`
}

async function closedLoop(clients: number, seconds: number, one: () => Promise<unknown>) {
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

function tell(name: string, { perSecond, times, cpu }: Awaited<ReturnType<typeof closedLoop>>): void {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => millis(percentile(times, share)))
  say(`    ${name.padEnd(6)} ${rate(perSecond).padEnd(9)} p50 ${p50}, p95 ${p95}, p99 ${p99}; ${cpu}`)
}

type Load = { seconds: number; rounds: number; clients: readonly number[]; only: BenchOptions['only']; fsync: boolean }

async function threeSteps(ground: Ground, server: Server, { seconds, rounds, clients: counts, only, fsync }: Load): Promise<void> {
  const bare = await startBareWorkflows(ground)
  if (fsync) await fsyncEach(ground)
  for (const clients of counts) {
    say(`  three no-op steps, ${clients} clients`)
    await closedLoop(clients, 2, () => start(server, 'three'))
    for (let round = 0; round < rounds; round++) {
      if (only !== 'limit') tell('ours', await closedLoop(clients, seconds, () => start(server, 'three')))
      if (only !== 'ours') tell('limit', await closedLoop(clients, seconds, () => bare.run()))
    }
  }
  await bare.stop()
}

async function repeated(name: string, times: number, toBeat: string, one: () => Promise<number>): Promise<void> {
  await one()
  const all: number[] = []
  for (let i = 0; i < times; i++) all.push(await one())
  say(`  ${name}: median ${millis(percentile(all, 0.5))}, p99 ${millis(percentile(all, 0.99))} (${times} runs; to beat: ${toBeat})`)
}

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now()
  await work()
  return performance.now() - began
}

async function signal(server: Server): Promise<number> {
  const { json } = await start(server, 'signal', null, 0)
  const ended = result(server, json.executionId)
  await new Promise((resolve) => setTimeout(resolve, 30)) // until it waits: that is not what is measured
  return timed(async () => {
    await go(server, json.executionId)
    await ended
  })
}

async function steps(ground: Ground, server: Server, count: number, tellIt = say): Promise<string> {
  const { json } = await start(server, 'steps', { count }, 0)
  const before = cpuOfAll()
  // Asked of Postgres: the server is not kept from its work by the question.
  for (let seq = 0; seq < 2 * count + 2;) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    const { rows } = await ground.admin.query<{ seq: string }>('SELECT seq FROM refold.execution_heads WHERE execution_id = $1', [
      json.executionId,
    ])
    seq = Number(rows[0]?.seq ?? 0)
  }
  const cpu = cpuSince(before, count)
  // As the log tells it: when the audit has it is not what is measured.
  const { rows } = await ground.admin.query<{ took: string }>(
    'SELECT extract(epoch FROM max(appended_at) - min(appended_at)) * 1000 AS took FROM refold.workflow_events WHERE execution_id = $1',
    [json.executionId],
  )
  const each = Number(rows[0]?.took) / count
  const least = await bareSteps(ground, count)
  tellIt(
    `  ${count} steps in a row: ${millis(each)} a step (to beat: 1.5 ms), ${(each / least).toFixed(1)} times the limit (two appends in a row: ${millis(least)}); ${cpu}`,
  )
  return json.executionId
}

/** A step's decision and its outcome, each appended when the one before it is acknowledged; ms a step. */
async function bareSteps({ log, topic, fresh }: Ground, count: number): Promise<number> {
  const name = fresh('bare-steps')
  await log.ensureTopic({ name, partitions: 1, replication: 1, settings: {} })
  const value = Buffer.alloc(400, 'x')
  const append = () => log.append({ topic: name, partition: 0, key: topic, value })
  for (let i = 0; i < 200; i++) await append()
  const took = await timed(async () => {
    for (let i = 0; i < 2 * count; i++) await append()
  })
  return took / count
}

async function timers(server: Server): Promise<void> {
  const late = await Promise.all(Array.from({ length: 200 }, async () => Number((await start(server, 'timer')).json.result)))
  say(
    `  200 timers of 1 s: late p50 ${millis(percentile(late, 0.5))}, p99 ${millis(percentile(late, 0.99))}, never early: ${Math.min(...late) >= 0} (to beat: 120 ms)`,
  )
}

/** 200 workflows of five steps of 100 ms; one process is killed in the middle and started again. */
async function killed(ground: Ground, victim: 'worker' | 'runtime'): Promise<void> {
  const env = { REFOLD_WORKER_CONCURRENCY: '256', REFOLD_GROUP_SESSION: '3000', REFOLD_GROUP_HEARTBEAT: '500' }
  const api = await startAll(ground, { roles: 'api,recorder', app: APP, env })
  const other = await startAll(ground, { roles: victim === 'worker' ? 'runtime' : 'worker', app: APP, env })
  let dying = await startAll(ground, { roles: victim, app: APP, env })
  await result(api, (await start(api, 'five', null, 0)).json.executionId)
  const all = await Promise.all(Array.from({ length: 200 }, () => start(api, 'five', null, 0)))
  const began = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 300))
  await dying.kill()
  dying = await startAll(ground, { roles: victim, app: APP, env })
  await Promise.all(all.map(({ json }) => result(api, json.executionId)))
  const took = performance.now() - began
  const { rows } = await ground.admin.query<{ n: string }>(
    `SELECT count(*) AS n FROM refold.event_verdicts WHERE event_name = 'action.completed'`,
  )
  say(
    `  200 workflows of five 100 ms steps, ${victim} killed and started again: all done after ${(took / 1000).toFixed(1)} s; steps finished twice: ${rows[0]?.n}`,
  )
  for (const one of [dying, other, api]) await one.stop()
}

const PARTS = ['three', 'hops', 'fan', 'signal', 'steps', 'timers', 'kills'] as const

async function longOnes(ground: Ground, server: Server): Promise<void> {
  // What is not measured goes first: warm code.
  await steps(ground, server, 1000, () => undefined)
  await steps(ground, server, 200)
  const long = await steps(ground, server, 2000)
  await server.stop()
  const again = await startAll(ground, { roles: ROLES, app: APP, env: {} })
  const woken = await timed(async () => {
    const ended = result(again, long)
    await go(again, long)
    await ended
  })
  say(`  woken after a restart, 2,000 steps of history: ${millis(woken)} (Restate: 64 ms)`)
  await again.stop()
}

/** As peers do that fsync before they answer. */
async function fsyncEach({ addresses, prefix }: Ground): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: addresses.kafkaBrokers, clientId: 'bench', logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix))
  const configEntries = [{ name: 'flush.messages', value: '1' }]
  await admin.alterConfigs({
    validateOnly: false,
    resources: topics.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name, configEntries })),
  })
  await admin.disconnect()
  say(`  flush.messages=1 on ${topics.length} topics`)
}

export const bench: Bench = async (ground, { rounds = 1, seconds = 5, clients, part, only, fsync }) => {
  if (part !== undefined && !PARTS.some((known) => known === part)) throw new Error(`--part ${part}: one of ${PARTS.join(', ')}`)
  const wanted = (name: (typeof PARTS)[number]) => part === undefined || part === name
  introduce(
    'Workflows: POST /v1/executions with Prefer: wait, closed loop; all roles in one process',
    'request sent → result in hand; every record acknowledged by Kafka (acks=all, one broker: its page cache), the audit follows',
    'nothing. Limit: the same records through the same log port in one process; no REST, no judging, no replay, no Postgres, no Redis',
  )
  if (wanted('hops')) await hops(ground, APP, 200, (server) => start(server, 'three'))
  if (part === 'hops') return agent.destroy()
  const server = await startAll(ground, { roles: ROLES, app: APP, env: { REFOLD_REMEMBERED_EXECUTIONS: '10000' } })
  if (wanted('three')) await threeSteps(ground, server, { seconds, rounds, clients: clients ? [clients] : CLIENTS, only, fsync })
  if (fsync) await fsyncEach(ground)
  if (wanted('fan')) await repeated('fan-out of 100', 20, '40 ms', () => timed(() => start(server, 'fan', { count: 100 })))
  if (wanted('signal')) await repeated('signal to result', 50, '11 ms', () => signal(server))
  if (wanted('timers')) await timers(server)
  if (wanted('steps')) await longOnes(ground, server)
  else await server.stop()
  if (wanted('kills')) for (const victim of ['worker', 'runtime'] as const) await killed(ground, victim)
  agent.destroy()
}
