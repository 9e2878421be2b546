// Workflows over REST, as users run them: all roles in one process, three no-op steps and what else peers are measured by.
// Durable when the client was answered: every record acknowledged by Kafka (one broker: in its page cache).

import { startBareWorkflows } from './bare-workflow.ts'
import type { Ground } from './ground.ts'
import { hops } from './hops.ts'
import { type Bench, type BenchOptions, introduce, millis, percentile, say } from './measure.ts'
import { type Server, startAll } from './server.ts'
import { agent, closedLoop, fsyncEach, go, result, signalToResult, start, stepsInARow, tell, timed, timersLate } from './workflow-load.ts'

const CLIENTS = [1, 16, 64, 256]
const APP = 'bench/workflow-app.ts'
const ROLES = 'api,recorder,runtime,worker'
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

async function steps(ground: Ground, server: Server, count: number, tellIt = say): Promise<string> {
  const { each, cpu, executionId } = await stepsInARow(ground, server, count)
  const least = await bareSteps(ground, count)
  tellIt(
    `  ${count} steps in a row: ${millis(each)} a step (to beat: 1.5 ms), ${(each / least).toFixed(1)} times the limit (two appends in a row: ${millis(least)}); ${cpu}`,
  )
  return executionId
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
  const late = await timersLate(server)
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
  await result(api, (await start(api, 'five', null, 0)).executionId)
  const all = await Promise.all(Array.from({ length: 200 }, () => start(api, 'five', null, 0)))
  const began = performance.now()
  await new Promise((resolve) => setTimeout(resolve, 300))
  await dying.kill()
  dying = await startAll(ground, { roles: victim, app: APP, env })
  await Promise.all(all.map(({ executionId }) => result(api, executionId)))
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
  if (wanted('signal')) await repeated('signal to result', 50, '11 ms', () => signalToResult(server))
  if (wanted('timers')) await timers(server)
  if (wanted('steps')) await longOnes(ground, server)
  else await server.stop()
  if (wanted('kills')) for (const victim of ['worker', 'runtime'] as const) await killed(ground, victim)
  agent.destroy()
}
