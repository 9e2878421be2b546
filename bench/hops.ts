// Where the time of one three-step workflow goes, hop by hop: one client, one workflow at a time, read from the server's sockets.

import { existsSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import type { Ground } from './ground.ts'
import { millis, percentile, say } from './measure.ts'
import { type Server, startAll } from './server.ts'
import type { Traced } from './trace-sockets.ts'

type Hop = 'kafka' | 'redis' | 'postgres'

/** A stretch of a workflow: a question that is waited for, or our own work between two. */
type Stretch = { what: Hop | 'ours'; ms: number }

const portOf = (address: string) => Number(new URL(address.includes('://') ? address : `any://${address}`).port)

/** What is asked while nothing else is outstanding, in order. Postgres counts where nothing of Kafka and Redis is under way. */
function stretches(traced: readonly Traced[], from: number, to: number): Stretch[] {
  const all: Stretch[] = []
  const open = new Map<Hop, number>([
    ['kafka', 0],
    ['redis', 0],
    ['postgres', 0],
  ])
  let at = from
  const passed = (until: number) => {
    const what = (['kafka', 'redis', 'postgres'] as const).find((hop) => (open.get(hop) ?? 0) > 0) ?? 'ours'
    const last = all.at(-1)
    if (last?.what === what) last.ms += until - at
    else all.push({ what, ms: until - at })
    at = until
  }
  for (const one of traced) {
    if (one.what === 'http' || one.at < from || one.at > to) continue
    passed(one.at)
    const count = open.get(one.what) ?? 0
    open.set(one.what, one.way === 'in' ? Math.max(0, count - 1) : one.what === 'kafka' ? count + 1 : 1)
  }
  passed(to)
  return all
}

const NAMES: Readonly<Record<Stretch['what'], string>> = {
  kafka: 'appends, acknowledged by Kafka',
  redis: 'questions to Redis',
  postgres: 'questions to Postgres',
  ours: 'our own process',
}

async function leasts(ground: Ground): Promise<Record<Hop, number>> {
  const { log, topic, addresses } = ground
  const value = Buffer.alloc(300)
  const redis = new Redis(addresses.redisUrl)
  const asked: Record<Hop, () => Promise<unknown>> = {
    kafka: () => log.append({ topic, partition: 0, key: 'k', value }),
    redis: () => redis.eval('return 1', 0),
    postgres: () => ground.admin.query('SELECT 1'),
  }
  const least = { kafka: 0, redis: 0, postgres: 0 }
  for (const hop of ['kafka', 'redis', 'postgres'] as const) {
    const times: number[] = []
    for (let i = 0; i < 300; i++) {
      const began = performance.now()
      await asked[hop]()
      times.push(performance.now() - began)
    }
    least[hop] = percentile(times.slice(50), 0.5)
  }
  redis.disconnect()
  return least
}

/** Runs `count` workflows on a server of its own and prints a table. */
export async function hops(ground: Ground, app: string, count: number, run: (server: Server) => Promise<unknown>): Promise<void> {
  const file = path.join(os.tmpdir(), `refold-trace-${process.pid}.json`)
  const { kafkaBrokers, redisUrl } = ground.addresses
  const ports = [`${portOf(kafkaBrokers[0] ?? '')}=kafka`, `${portOf(redisUrl)}=redis`, `${portOf(ground.databaseUrl)}=postgres`]
  const env = {
    NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'trace-sockets.ts')}`,
    TRACE_FILE: file,
    TRACE_PORTS: ports.join(','),
  }
  const server = await startAll(ground, { roles: 'api,recorder,runtime,worker', app, env })
  const collect = async (): Promise<readonly Traced[]> => {
    server.signal('SIGUSR2')
    while (!existsSync(file)) await pause(20)
    await pause(100)
    const found = JSON.parse(readFileSync(file, 'utf8')) as Traced[]
    rmSync(file)
    return found
  }
  for (let i = 0; i < count; i++) await run(server)
  await collect() // warm
  for (let i = 0; i < count; i++) await run(server)
  const traced = await collect()
  await server.stop()
  report(traced, await leasts(ground))
}

function report(traced: readonly Traced[], least: Readonly<Record<Hop, number>>): void {
  const spans: { from: number; to: number }[] = []
  let from = 0
  for (const { what, way, at } of traced) {
    if (what !== 'http') continue
    if (way === 'in') from = at
    else spans.push({ from, to: at })
  }
  const all = spans.map((span) => stretches(traced, span.from, span.to))
  const whole = percentile(
    spans.map((span) => span.to - span.from),
    0.5,
  )
  say(`  hop by hop, one client: ${millis(whole)} in the server, median of ${spans.length} workflows`)
  for (const what of ['kafka', 'redis', 'postgres', 'ours'] as const) {
    const sums = all.map((one) => one.filter((stretch) => stretch.what === what).reduce((sum, { ms }) => sum + ms, 0))
    const counts = all.map((one) => one.filter((stretch) => stretch.what === what).length)
    const [ms, times] = [percentile(sums, 0.5), percentile(counts, 0.5)]
    const bound = what === 'ours' ? '' : `; the barest alone: ${millis(least[what])} each`
    say(`    ${NAMES[what].padEnd(32)} ${millis(ms).padStart(8)}  in ${String(times).padStart(2)} stretches${bound}`)
  }
  say('    Our own process works on other records meanwhile (recorder, readers): its share of the other hops is in them.')
  sequence(all)
}

/** What the appends of a workflow of three steps are, in order. */
const APPENDS = [
  'workflow.started',
  'action.scheduled 1',
  ...[1, 2].map((n) => `action.completed ${n}, action.scheduled ${n + 1}`),
  'action.completed 3, workflow.completed',
]
/** Shorter stretches than this are told with the one before, ms. */
const SHORT = 0.05

/** The course that most workflows took, stretch by stretch: without questions to Postgres, which are the recorder's but for one. */
function sequence(all: readonly (readonly Stretch[])[]): void {
  const courses = all.map((one) => {
    const course: Stretch[] = []
    for (const { what, ms } of one) {
      const kind = what === 'postgres' ? 'ours' : what
      const last = course.at(-1)
      if (last && (last.what === kind || ms < SHORT)) last.ms += ms
      else course.push({ what: kind, ms })
    }
    return course
  })
  const byShape = Map.groupBy(courses, (course) => course.map(({ what }) => what).join(' '))
  const [most = []] = [...byShape.values()].toSorted((a, b) => b.length - a.length)
  say(`    the course of ${most.length} of them:`)
  let appends = 0
  most[0]?.forEach(({ what }, i) => {
    const ms = percentile(
      most.map((course) => course[i]?.ms ?? 0),
      0.5,
    )
    say(`      ${(what === 'kafka' ? `append ${APPENDS[appends++] ?? ''}` : NAMES[what]).padEnd(46)} ${millis(ms)}`)
  })
}
