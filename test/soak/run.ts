// npm run soak -- --seed N --minutes M: the whole proof, for as long as asked. Each round has its own seed and its own,
// fresh servers; at least one round is run whole. Exit code 1 at the first fault.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { FAULT_POINTS } from '../../faults.ts'
import { down, up } from '../../stack/stack.ts'
import { readState } from '../../stack/state.ts'
import { OWN_PORTS } from '../support/own-stack.ts'
import { runNotifications, type NotificationsReport } from './notifications.ts'
import { until } from '../support/wait.ts'
import { lived } from '../support/world/lived.ts'
import { type RebuildReport, runRebuild } from './rebuild.ts'
import { runSpine, type SpineReport } from './spine.ts'
import { killFaults, runWorkflows, type WorkflowsReport } from './workflows.ts'

const USAGE = `npm run soak -- [--seed N] [--minutes M] [--events E]

Events flow while the recorder is killed and made to fail at every fault point, Postgres is killed, Redis is flushed, and two
recorders fight over the same partitions for a minute. At the end each event counts once, or the exit code is 1.

Then random workflow programs run while recorder, runtimes and workers are killed, at every fault point and at random moments, each role
in a process of its own with an even seed, several in one, as Refold is shipped, with an odd one; once more with Redis flushed every second, and once with Redis away for a minute. Each must end with the result, data and state its program
demands, an outside ledger counts effects, and where Redis is the victim a worker's counts tell that its cache and locks were used.

Then a reader of notifications is held against the audit, while notifiers are killed and Redis is flushed and away; and a projection
is rebuilt, promoted and gone back from under load (1,000 events and 200 reads a second), and no reader may notice. The counters of
projections are exact after 20 kill -9 in the middle of catch-up, and after two processes projected the same partitions for a minute.

First of all some hundred programs run on recorder, runtimes, workers and projectors whose log, Postgres and Redis are in memory, and which
die between any two steps.

  --seed N      of the first round (default 1); the next has N + 1
  --minutes M   rounds are begun until so many minutes have passed (default 10)
  --events E    of a round (default 100000)
  --workflows W executions of random programs in a round (default 1000)
  --rate R      events a second while projections are rebuilt (default 1000)
  --only PART   processes, spine, workflows, redis (workflows with it flushed, and away), notifications, rebuild or counters`

const whole = (text: string, name: string): number => {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) {
    console.error(`--${name} is ${text}, not a whole number from 1\n\n${USAGE}`)
    process.exit(2)
  }
  return number
}

async function onOwnServers<T>(seed: number, work: (folder: string, say: (line: string) => void) => Promise<T>): Promise<T> {
  const folder = path.join(import.meta.dirname, '..', '..', '.refold', `soak-${seed}`)
  const say = (line: string) => console.error(`${new Date().toISOString()} seed ${seed}: ${line}`)
  try {
    return await work(folder, say)
  } finally {
    await down(folder, say, { erase: true })
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Of processes in memory: how often they die, and how often what they ask of does not answer. */
const FATES = [0, 0.0003, 0.001, 0.003].flatMap((deaths) => [0, 0.01, 0.05].map((failures) => ({ deaths, failures })))

const spine = (seed: number, events: number): Promise<SpineReport> =>
  onOwnServers(seed, (folder, say) =>
    runSpine({ folder, seed, events, executions: Math.ceil(events / 10), kills: 2, postgresStops: 3, rivalSeconds: 60, say }),
  )

/** A whole stack in the folder; the environment of processes on it, and of whom Redis can be taken away. */
async function wholeStack(folder: string, seed: number, say: (line: string) => void) {
  await up({ folder, say, env: {}, portsFrom: OWN_PORTS })
  const { kafka, registry, postgres, redis } = readState(folder)?.servers ?? {}
  if (!kafka || !registry || !postgres || !redis) throw new Error(`no stack in ${folder}`)
  const env = {
    ...process.env,
    REFOLD_STACK: folder,
    KAFKA_BROKERS: kafka.address,
    SCHEMA_REGISTRY_URL: registry.address,
    DATABASE_URL: postgres.address,
    REDIS_URL: redis.address,
    REFOLD_API_TOKENS: 'token=tenant',
    REFOLD_TOPIC_PREFIX: `soak${seed}`,
    REFOLD_PORT: '0',
  }
  return { env, databaseUrl: postgres.address, redisUrl: redis.address, redisPid: redis.pid, faultLog: path.join(folder, 'faults') }
}

/** Redis as a victim. */
const redisOf = (folder: string, pid: number) => ({
  async away() {
    process.kill(pid, 'SIGKILL')
    await until(() => !existsSync(`/proc/${pid}`), { what: 'Redis to be gone' })
  },
  back: () => up({ folder, say: () => undefined, env: {}, kinds: ['redis'], portsFrom: OWN_PORTS }).then(() => undefined),
})

const workflows = (seed: number, executions: number): Promise<WorkflowsReport> =>
  onOwnServers(seed, async (folder, say) => {
    const { env, databaseUrl, faultLog } = await wholeStack(folder, seed, say)
    return runWorkflows({ seed, executions, kills: 60, env, databaseUrl, faultLog, say })
  })

const AWAY_SECONDS = 60

const forgetful = (seed: number, executions: number, victim: 'flushed' | 'away'): Promise<WorkflowsReport> =>
  onOwnServers(seed, async (folder, say) => {
    const { env, databaseUrl, faultLog, redisPid } = await wholeStack(folder, seed, say)
    const how = victim === 'flushed' ? { flush: true } : { outage: { ...redisOf(folder, redisPid), seconds: AWAY_SECONDS } }
    return runWorkflows({ seed, executions, kills: 20, env, databaseUrl, faultLog, say, ...how })
  })

/** One in a hundred or so has a result of the cache: of fewer than these there may be none. */
const CACHING = 500

/** Beside what is wrong: what must have happened, or the run shows nothing. Counts are those of the one worker that lives to the end. */
function forgetfulFaults({ faults, tally, flushed, endedMeanwhile, executions }: WorkflowsReport, victim: 'flushed' | 'away'): string[] {
  const { cached = 0, locks = 0 } = tally
  return [
    ...faults,
    ...(cached > 0 || executions < CACHING ? [] : ['no result came from the cache']),
    ...(locks > executions / 4 ? [] : [`only ${locks} locks were taken`]),
    ...(victim === 'away' || flushed >= 3 ? [] : [`Redis was flushed ${flushed} times only`]),
    ...(victim === 'flushed' || endedMeanwhile > 0 ? [] : ['no execution ended while Redis was away']),
  ]
}

const notifications = (seed: number): Promise<NotificationsReport> =>
  onOwnServers(seed, async (folder, say) => {
    const { env, databaseUrl, faultLog, redisUrl, redisPid } = await wholeStack(folder, seed, say)
    const redis = {
      async flush() {
        const client = new Redis(redisUrl)
        await client.flushall()
        client.disconnect()
      },
      ...redisOf(folder, redisPid),
    }
    return runNotifications({ seed, rate: 100, kills: 10, flushes: 5, awaySeconds: 60, redis, env, databaseUrl, faultLog, say })
  })

const rebuild = (seed: number, eventRate: number): Promise<RebuildReport> =>
  onOwnServers(seed, async (folder, say) => {
    const { env, databaseUrl } = await wholeStack(folder, seed, say)
    return runRebuild({ seed, eventRate, readRate: 200, executions: 6000, heldSeconds: 30, env, databaseUrl, say })
  })

/** The flow of CI, for longer; on the stack that tests use. */
async function counters(): Promise<{ kills: number; fightSeconds: number; told: string; faults: string[] }> {
  const [kills, fightSeconds] = [20, 60]
  const env = { ...process.env, REFOLD_TEST_KILLS: String(kills), REFOLD_TEST_FIGHT: String(fightSeconds * 1000), REFOLD_REQUIRE: 'all' }
  const root = path.join(import.meta.dirname, '..', '..')
  const child = spawn(process.execPath, ['bin/refold.js', 'dev', 'test', 'test/flows/projections.test.ts'], { cwd: root, env })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (printed += text.toString()))
  const [code] = (await once(child, 'exit')) as [number | null]
  const told = /tests: .*/.exec(printed)?.[0] ?? ''
  return { kills, fightSeconds, told, faults: code === 0 ? [] : printed.split('\n').slice(-60) }
}

function faultsOf({ hits, overtaken, faults }: SpineReport): string[] {
  const missed = FAULT_POINTS.filter((point) => point.startsWith('recorder:') && (hits[`${point} kill`] ?? 0) < 2)
  return [
    ...faults,
    ...missed.map((point) => `${point} was hit fewer than two times`),
    ...(overtaken > 0 ? [] : ['the compare-and-set never refused']),
  ]
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '10' },
    events: { type: 'string', default: '100000' },
    workflows: { type: 'string', default: '1000' },
    rate: { type: 'string', default: '1000' },
    only: { type: 'string' },
    help: { type: 'boolean' },
  },
})
if (values.help) {
  console.log(USAGE)
  process.exit(0)
}
const first = whole(values.seed, 'seed')
const end = performance.now() + whole(values.minutes, 'minutes') * 60_000
const events = whole(values.events, 'events')
const executions = whole(values.workflows, 'workflows')
const eventRate = whole(values.rate, 'rate')
const PARTS = ['processes', 'spine', 'workflows', 'redis', 'notifications', 'rebuild', 'counters']
if (values.only !== undefined && !PARTS.includes(values.only)) {
  console.error(`--only is ${values.only}, not one of ${PARTS.join(', ')}`)
  process.exit(2)
}
const wanted = (part: string) => values.only === undefined || values.only === part

/** Prints a round's report, and ends everything at its first fault. */
function tell(part: string, seed: number, report: object, faults: readonly string[]): void {
  console.log(JSON.stringify({ part, seed, ...report, faults: faults.slice(0, 20) }, null, 2))
  if (faults.length > 0) process.exit(1)
}

for (let seed = first; seed === first || performance.now() < end; seed++) {
  if (wanted('processes')) {
    const fate = FATES[seed % FATES.length] ?? { deaths: 0 }
    const { deaths, faults, ...report } = await lived({ seed, executions: 150, ...fate })
    const died = deaths.reduce((sum, [, times]) => sum + times, 0)
    tell('processes', seed, { ...report, fate, died, places: deaths.length }, faults)
  }
  if (wanted('spine')) {
    const report = await spine(seed, events)
    tell('spine', seed, report, faultsOf(report))
  }
  if (wanted('workflows')) {
    const report = await workflows(seed, executions)
    tell('workflows', seed, report, [...report.faults, ...killFaults(report)])
  }
  if (wanted('redis'))
    for (const victim of ['flushed', 'away'] as const) {
      const report = await forgetful(seed, executions, victim)
      tell(`workflows, Redis ${victim}`, seed, report, forgetfulFaults(report, victim))
    }
  if (wanted('notifications')) {
    const report = await notifications(seed)
    tell('notifications', seed, report, report.faults)
  }
  if (wanted('rebuild')) {
    const report = await rebuild(seed, eventRate)
    tell('rebuild', seed, report, report.faults)
  }
  if (wanted('counters')) {
    const report = await counters()
    tell('counters', seed, report, report.faults)
  }
}
