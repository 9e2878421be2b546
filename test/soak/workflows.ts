// Workflows under fire: random programs run while recorder, runtimes and workers, apart or together in processes, are killed at
// seeded moments and at every named fault point. At the end each execution has the state, the result and the history that its program demands, and an
// outside ledger tells what effects there were.

import { setTimeout as pause } from 'node:timers/promises'
import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { Redis } from 'ioredis'
import { Pool } from 'pg'
import { FAULT_POINTS, type FaultPoint } from '../../faults.ts'
import { restOf } from '../support/rest.ts'
import { LEDGER } from '../support/random-app.ts'
import { eventsOf, programOf, randomOf } from '../support/random-workflow.ts'
import { until } from '../support/wait.ts'
import { Kept } from './kept.ts'
import type { Lapse } from './repeats.ts'
import { type Shape, SHAPES, shapeOf } from './shapes.ts'
import { judge } from './workflow-judge.ts'

export type WorkflowsOptions = {
  /** Of everything that is random, and its parity of the shape. */
  seed: number
  executions: number
  /** Kills at random moments, beside one at every fault point of the roles that run. */
  kills: number
  /** Of the recorder's fault points, only so many, chosen by the seed. */
  recorderPoints?: number
  /** Environment of all processes: servers, prefix, tokens; the token is `token`. */
  env: NodeJS.ProcessEnv
  /** The database of this run, not migrated yet. */
  databaseUrl: string
  /** Where processes note the faults they carry out. */
  faultLog: string
  /** Flushes Redis every second meanwhile. */
  flush?: boolean
  /** Takes Redis away for so many seconds, in which a third of the executions start. */
  outage?: { away: () => Promise<void>; back: () => Promise<void>; seconds: number }
  say: (line: string) => void
}

export type WorkflowsReport = {
  shape: Shape
  executions: number
  events: number
  /** By SIGKILL. */
  killed: number
  points: string[]
  flushed: number
  /** Executions that ended while Redis was away. */
  endedMeanwhile: number
  /** What the workers that lived to the end counted: attempts by outcome, locks taken. */
  tally: Record<string, number>
  effects: Record<string, number>
  /** Of those, effects beyond the first of an attempt. */
  repeated: number
  faults: string[]
  seconds: number
}

/** Workers have found a Redis that is back after, ms. */
const RECONNECTED = 2000

/** What 1,000 executions must bear. */
const KILLS_OF_THOUSAND = 60

/** Of a run without Redis as its victim. */
export const killFaults = ({ executions, killed }: Pick<WorkflowsReport, 'executions' | 'killed'>): string[] =>
  executions >= 1000 && killed < KILLS_OF_THOUSAND ? [`${killed} kills only among ${executions} executions`] : []

/** Carried out so far, by point. */
function pointsHit(faultLog: string): Set<string> {
  if (!existsSync(faultLog)) return new Set()
  return new Set(
    readFileSync(faultLog, 'utf8')
      .split('\n')
      .filter((line) => line.endsWith(' kill'))
      .map((line) => line.split(' ')[0] ?? ''),
  )
}

export async function runWorkflows(options: WorkflowsOptions): Promise<WorkflowsReport> {
  const { seed, executions, kills, databaseUrl, faultLog, say } = options
  const began = performance.now()
  const random = randomOf(seed)
  const below = (n: number) => Math.floor(random() * n)
  rmSync(faultLog, { force: true })
  appendFileSync(faultLog, '')
  const pool = new Pool({ connectionString: databaseUrl, max: 4 })
  pool.on('error', () => undefined)
  const redis = new Redis(String(options.env['REDIS_URL']), { maxRetriesPerRequest: null })
  redis.on('error', () => undefined)
  const isSpared = options.flush === true || options.outage !== undefined
  await pool.query(LEDGER)
  const env: NodeJS.ProcessEnv = {
    ...options.env,
    REFOLD_TEST_LEDGER: databaseUrl,
    REFOLD_FAULT_LOG: faultLog,
    REFOLD_GROUP_SESSION: '1500',
    REFOLD_GROUP_HEARTBEAT: '300',
    REFOLD_DATABASE_CONNECTIONS: '4',
    REFOLD_LOG_LEVEL: 'info',
  }
  const api = new Kept('api', ['api'], env)
  const shape = shapeOf(seed)
  const fighters = SHAPES[shape].map(([name, roles]) => new Kept(name, roles, env))
  const ofRecorder = options.recorderPoints ?? Infinity
  let recorders = 0
  const isOfRecorder = (point: FaultPoint) => point.startsWith('recorder:')
  const whoReaches = (point: FaultPoint) => fighters.filter((one) => one.reaches(point))
  const points = (isSpared ? [] : FAULT_POINTS.toSorted(() => random() - 0.5)).filter(
    (point) => whoReaches(point).length > 0 && (!isOfRecorder(point) || recorders++ < ofRecorder),
  )
  const killed = () => fighters.reduce((sum, one) => sum + one.killed.length, 0)
  const faults: string[] = []
  const lapses: Lapse[] = []
  let [endedMeanwhile, isAway] = [0, false]
  const flushing =
    options.flush === true
      ? setInterval(() => {
          const from = Date.now()
          void redis.flushdb().then(
            () => lapses.push({ from, to: Date.now() }),
            () => undefined,
          )
        }, 1000)
      : undefined
  try {
    api.start()
    await until(() => api.isUp, { within: 60_000, what: () => `the API: ${api.tail}` })
    for (const one of fighters) one.start()
    await until(() => fighters.every(({ isUp }) => isUp), { within: 60_000, what: () => fighters.map(({ tail }) => tail).join('\n') })
    say(`up after ${Math.round((performance.now() - began) / 1000)} s`)
    const rest = restOf(api.url, 'token')

    const started = new Map<number, string>()
    const start = async (n: number) => {
      const begun = await rest.post(
        '/v1/executions',
        JSON.stringify({ workflow: 'random', version: '1', key: `seed-${n}`, input: { seed: n } }),
        {
          'content-type': 'application/json',
        },
      )
      if (begun.status !== 202) throw new Error(`start of ${n}: ${begun.status} ${begun.text}`)
      const { executionId } = begun.json() as { executionId: string }
      started.set(n, executionId)
      const events = eventsOf(programOf(n)).map((event) => ({
        execution_id: executionId,
        event_name: event,
        payload: event,
        idempotency_key: event,
      }))
      if (events.length > 0) await rest.send(events)
    }
    const killing = (async () => {
      for (const point of points) {
        const victims = whoReaches(point)
        victims[below(victims.length)]?.plan(`${point}=kill@${1 + below(12)}`)
      }
      // The recorder is one: from its first death on each start of it is for the next of its points.
      const total = kills + points.filter((point) => !isOfRecorder(point)).length
      // Where Redis is the victim one worker lives to the end: what it counted tells that cache and locks were used.
      const mortal = isSpared ? fighters.slice(0, -1) : fighters
      for (let done = 0; done < total; done++) {
        const due = Math.min(executions, Math.ceil(((done + 1) * executions) / (total + 1)))
        await until(() => started.size >= due, { within: 300_000, every: 20, what: `${due} started` })
        const victim = done === 0 && points.length > 0 ? fighters[0] : mortal[below(mortal.length)]
        if (!victim) continue
        await until(() => victim.isUp, { within: 120_000, what: () => `${victim.name} to come up: ${victim.tail}` })
        victim.kill()
      }
    })()
    const first = seed * 100_000
    const one = async (next: () => number | undefined) => {
      for (let n = next(); n !== undefined; n = next()) await start(n)
    }
    let counter = 0
    const next = () => (counter < executions ? first + counter++ : undefined)
    // Not faster than the kills: they are spread over the starts.
    const pace = async () => {
      for (let n = next(); n !== undefined; n = next()) {
        await start(n)
        await until(() => fighters.filter(({ isUp }) => isUp).length >= 3, { within: 120_000, what: 'three of five to be up' })
        // Two of us: a third of all starts fills the outage.
        if (isAway) await pause(((options.outage?.seconds ?? 0) * 2000) / (executions / 3))
      }
    }
    const ends = async () => {
      const { rows } = await pool.query<{ n: string }>("SELECT count(*) AS n FROM refold.workflow_executions WHERE status = 'completed'")
      return Number(rows[0]?.n)
    }
    const outage = async ({ away, back, seconds }: NonNullable<WorkflowsOptions['outage']>) => {
      await until(() => started.size >= executions / 3, { within: 300_000, every: 20, what: 'a third to be started' })
      isAway = true
      const from = Date.now()
      await away()
      const before = await ends()
      await pause(seconds * 1000)
      endedMeanwhile = (await ends()) - before
      await back()
      lapses.push({ from, to: Date.now() + RECONNECTED })
      isAway = false
      say(`Redis was away for ${seconds} s; ${endedMeanwhile} executions ended meanwhile`)
    }
    await Promise.all([pace(), pace(), killing, ...(options.outage ? [outage(options.outage)] : [])])
    // Points that were planned and not reached yet: each gets a process that waits for it.
    const missing = () => points.filter((point) => !pointsHit(faultLog).has(point))
    let extra = first + executions
    for (const one of fighters) one.unplan()
    for (let turn = 0; turn < 40 && missing().length > 0; turn++) {
      for (const point of missing()) {
        const victims = whoReaches(point)
        const victim = victims[turn % victims.length]
        if (!victim) continue
        const deaths = victim.killed.length
        victim.plan(`${point}=kill@1`)
        victim.kill()
        const isBack = () => (victim.killed.length > deaths && victim.isUp) || pointsHit(faultLog).has(point)
        await until(isBack, { within: 60_000, what: () => victim.tail })
        const from = extra
        extra += 4
        let at = from
        await one(() => (at < extra ? at++ : undefined))
        // It needs its partitions first: killed for the next point before that, it would die for nothing.
        await until(() => pointsHit(faultLog).has(point), { within: 10_000, every: 50 }).catch(() => undefined)
      }
    }
    // A loaded machine needs a while until the last ones are reached.
    await until(() => missing().length === 0, { within: 60_000, every: 200, what: 'each point' }).catch(() => undefined)
    faults.push(...missing().map((point) => `${point} was never reached`))
    say(`${started.size} started, ${killed()} killed`)

    const open = async () => {
      const { rows } = await pool.query<{ open: string }>(
        "SELECT count(*) AS open FROM refold.workflow_executions WHERE status IN ('running', 'paused')",
      )
      const { rows: known } = await pool.query<{ known: string }>('SELECT count(*) AS known FROM refold.workflow_executions')
      return Number(rows[0]?.open) + started.size - Number(known[0]?.known)
    }
    let left = await open()
    await until(async () => (left = await open()) === 0, { within: 240_000, every: 200, what: () => `${left} executions to end` }).catch(
      (error: unknown) => faults.push(String(error)),
    )
    clearInterval(flushing)
    faults.push(...(await judge(pool, started, fighters, lapses)))
    const { rows: effects } = await pool.query<{ guarantee: string; count: string }>('SELECT guarantee, count(*) FROM ledger GROUP BY 1')
    const { rows: repeats } = await pool.query<{ count: string }>(
      "SELECT count(*) - count(DISTINCT (execution, action, attempt)) AS count FROM ledger WHERE guarantee = 'at-least-once'",
    )
    const { rows: events } = await pool.query<{ count: string }>('SELECT count(*) FROM refold.workflow_events')
    await Promise.all([...fighters, api].map((kept) => kept.stop()))
    faults.push(...[...fighters, api].flatMap((kept) => kept.faults))
    const tally: Record<string, number> = {}
    for (const { tally: counts } of fighters) for (const [name, n] of Object.entries(counts)) tally[name] = (tally[name] ?? 0) + n
    return {
      shape,
      executions: started.size,
      events: Number(events[0]?.count),
      killed: killed(),
      points: [...pointsHit(faultLog)],
      flushed: options.flush === true ? lapses.length : 0,
      endedMeanwhile,
      tally,
      effects: Object.fromEntries(effects.map(({ guarantee, count }) => [guarantee, Number(count)])),
      repeated: Number(repeats[0]?.count),
      faults,
      seconds: Math.round((performance.now() - began) / 1000),
    }
  } finally {
    clearInterval(flushing)
    await Promise.all([...fighters, api].map((kept) => kept.stop()))
    redis.disconnect()
    await pool.end()
  }
}
