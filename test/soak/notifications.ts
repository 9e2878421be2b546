// Notifications under fire: events flow while notifiers are killed and fail over, Redis is flushed, and Redis is away for as
// long as told. Every other notifier has a recorder in its process, whose batches it sends without reading them back. At the end a reader that knows only the contract has every accepted event at least once, in order within its
// partition, and each could be read over REST at the moment it came.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'pg'
import { type NotificationReader, readNotifications, type Told } from '../support/notification-reader.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { until } from '../support/wait.ts'
import { endFault } from './ends.ts'
import { randomOf } from './workload.ts'

export type NotificationsOptions = {
  seed: number
  /** Events a second. What comes while Redis is away must fit its stream. */
  rate: number
  /** kill -9 of the notifier that sends, beside what die at fault points. */
  kills: number
  flushes: number
  /** How long Redis is away, seconds. */
  awaySeconds: number
  redis: { flush(): Promise<unknown>; away(): Promise<void>; back(): Promise<void> }
  /** Environment of all processes: servers, prefix, tokens; the token is `token`. */
  env: NodeJS.ProcessEnv
  databaseUrl: string
  /** Where processes note the faults they carry out. */
  faultLog: string
  say: (line: string) => void
}

export type NotificationsReport = {
  events: number
  repeats: number
  /** Of the notifier that was sending; and how many of these had a recorder in their process. */
  kills: number
  besideRecorder: number
  /** Notifiers that died at a fault point. */
  diedAtPoints: number
  flushed: number
  /** From a kill to the next event that the reader had not seen, ms. */
  longestFailover: number
  /** From Redis back until the reader had all that was accepted meanwhile, ms, and how many that were. */
  caughtUp: { ms: number; events: number }
  faults: string[]
  seconds: number
}

const ROOT = path.join(import.meta.dirname, '..', '..')
const SEND_EVERY = 100
const EXECUTIONS = 97

class Process {
  readonly #name: string
  readonly child: ChildProcess
  readonly closed: Promise<void>
  readonly roles: string
  readonly #lines: string[] = []
  url: string | undefined
  gone = false
  #isStopped = false
  /** What is wrong with its end. */
  fault: string | undefined

  constructor(roles: string, env: NodeJS.ProcessEnv) {
    this.#name = roles
    const args = ['--disable-warning=TimeoutNegativeWarning', path.join(ROOT, 'cli', 'main.ts'), 'start', '--roles', roles]
    this.roles = roles
    this.child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
    const hear = (line: string) => {
      this.#lines.push(line)
      if (this.#lines.length > 20) this.#lines.shift()
      if (line.includes('"running;')) this.url = (JSON.parse(line) as { url?: string }).url ?? ''
    }
    for (const output of [this.child.stdout, this.child.stderr]) if (output) createInterface({ input: output }).on('line', hear)
    this.closed = new Promise((resolve) =>
      this.child.once('close', (code, signal) => {
        this.gone = true
        const [isUp, tail] = [this.url !== undefined, this.#lines.join('\n')]
        this.fault = endFault({ name: this.#name, code, signal, isStopped: this.#isStopped, isUp, tail })
        resolve()
      }),
    )
  }

  async up(): Promise<this> {
    const what = () => `the process to run: ${this.#lines.join('\n')}`
    await until(() => this.url !== undefined || this.gone, { within: 90_000, what })
    return this
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#isStopped = signal === 'SIGTERM'
    this.child.kill(signal)
    await this.closed
  }
}

const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`

/** Sends at the rate, where the machine can, until it is stopped; every batch was answered 202. What was late is not made up for. */
function sendSteadily(rest: Rest, rate: number): { sent(): number; stop(): Promise<number> } {
  const stopping = new AbortController()
  const count = Math.ceil((rate * SEND_EVERY) / 1000)
  let sent = 0
  const work = (async () => {
    for (let due = performance.now(); !stopping.signal.aborted; due = Math.max(performance.now(), due + SEND_EVERY)) {
      await pause(Math.max(0, due - performance.now()))
      const events = Array.from({ length: count }, (_, i) => ({
        execution_id: executionOf((sent + i) % EXECUTIONS),
        event_name: 'thing.happened',
        to_state: `s${sent + i}`,
        user_id: i % 2 === 0 ? 'clerk' : undefined,
        payload: { n: sent + i, text: 'ü"\n', big: 12345678901234567890n.toString() },
      }))
      const answer = await rest.send(events)
      if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
      sent += count
    }
  })()
  work.catch(() => undefined)
  return {
    sent: () => sent,
    async stop() {
      stopping.abort()
      await work
      return sent
    },
  }
}

/**
 * Two notifiers, of which one sends; whoever dies is replaced, every other time by one that will die at a fault point. Every other one
 * is a recorder too; of those that die at a point, as many as not.
 */
class Notifiers {
  readonly #env: NodeJS.ProcessEnv
  readonly #faultLog: string
  readonly #pool: Pool
  readonly #random: () => number
  readonly #running = new Set<Process>()
  #besideRecorder = 0
  #started = 0
  #stopping = false
  /** Of those that ended by themselves: another took over, and the reader saw nothing of it. */
  readonly faults: string[] = []

  constructor(env: NodeJS.ProcessEnv, faultLog: string, pool: Pool, random: () => number) {
    this.#env = { ...env, REFOLD_FAULT_LOG: faultLog }
    this.#faultLog = faultLog
    this.#pool = pool
    this.#random = random
  }

  start(): void {
    const rounds = 20 + Math.floor(this.#random() * 80)
    const n = this.#started++
    const plan = ['', `notifier:page:added=kill@${rounds}`, '', `notifier:checkpoint:moved=kill@${rounds}`][n % 4] ?? ''
    const roles = (n + Math.floor(n / 4)) % 2 === 0 ? 'recorder,notifier' : 'notifier'
    const one = new Process(roles, { ...this.#env, REFOLD_FAULTS: plan })
    this.#running.add(one)
    one.child.once('close', () => {
      this.#running.delete(one)
      if (one.fault !== undefined) this.faults.push(one.fault)
      if (!this.#stopping) this.start()
    })
  }

  /** kill -9 of the one that sends. */
  async killLeader(): Promise<void> {
    const leader = await until(
      async () => {
        const { rows } = await this.#pool.query<{ owner: string }>(
          "SELECT owner FROM refold.leases WHERE name = 'notifier' AND expires_at > now()",
        )
        return [...this.#running].find(({ child }) => rows[0]?.owner.includes(`-${child.pid}-`))
      },
      { within: 60_000, what: 'a notifier to lead' },
    )
    await leader.end('SIGKILL')
    if (leader.roles !== 'notifier') this.#besideRecorder++
  }

  /** Of those killed while they led. */
  get besideRecorder(): number {
    return this.#besideRecorder
  }

  get diedAtPoints(): number {
    return existsSync(this.#faultLog) ? readFileSync(this.#faultLog, 'utf8').split('\n').filter(Boolean).length : 0
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#running].map((one) => one.end('SIGKILL')))
  }
}

type AuditRow = { position: string; payload: string | null; told: Told }

const AUDIT = `
  SELECT 'p' || partition || ':' || log_offset AS position, payload,
    jsonb_build_object('event_id', event_id, 'execution_id', execution_id, 'event_name', event_name, 'event_type', event_type,
      'tenant', tenant, 'user_id', coalesce(user_id, ''), 'from_state', from_state, 'to_state', to_state, 'seq', seq::text,
      'timestamp', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) AS told
  FROM refold.workflow_events ORDER BY partition, log_offset`

/** What of the audit the reader was not told, or was told otherwise. */
async function compare(pool: Pool, { seen }: NotificationReader): Promise<{ events: number; faults: string[] }> {
  const { rows } = await pool.query<AuditRow>(AUDIT)
  const faults = rows.flatMap(({ position, payload, told }) => {
    const got = seen.get(position)
    if (!got) return [`${position} was never told`]
    const other = Object.keys(told).find((name) => got[name] !== told[name])
    if (other !== undefined) return [`${position}: ${other} is ${got[other]}, not ${told[other]}`]
    return got['payload_json'] === (payload ?? '{}') ? [] : [`${position}: another payload`]
  })
  const audited = new Set(rows.map(({ position }) => position))
  for (const position of seen.keys()) if (!audited.has(position)) faults.push(`${position} was told, and is not in the audit`)
  return { events: rows.length, faults }
}

/** Recorders die as well: their partitions are soon taken over, or what is not recorded yet would pile up from kill to kill. */
const GROUPS = { REFOLD_GROUP_SESSION: '1500', REFOLD_GROUP_HEARTBEAT: '300' }

export async function runNotifications(options: NotificationsOptions): Promise<NotificationsReport> {
  const { seed, rate, databaseUrl, say } = options
  const env: NodeJS.ProcessEnv = { ...options.env, ...GROUPS }
  const began = performance.now()
  const random = randomOf(seed)
  const pool = new Pool({ connectionString: databaseUrl, max: 2 })
  pool.on('error', () => undefined)
  const stream = `${env['REFOLD_TOPIC_PREFIX']}:workflow:events:global`
  const api = await new Process('api,recorder', env).up()
  const rest = restOf(api.url ?? '', 'token')
  const notifiers = new Notifiers(env, options.faultLog, pool, random)
  notifiers.start()
  notifiers.start()
  const reader = readNotifications(String(env['REDIS_URL']), stream, rest)
  const count = async () => Number((await pool.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')).rows[0]?.n)
  /** Until the reader has seen so many events more than now. */
  const progress = async (more: number) => {
    const due = reader.seen.size + more
    await until(() => reader.seen.size >= due || reader.faults.length > 0, {
      within: 120_000,
      what: () => `the reader to see ${due} events, not ${reader.seen.size}`,
    })
  }
  const sending = sendSteadily(rest, rate)
  const report: NotificationsReport = {
    events: 0,
    repeats: 0,
    kills: 0,
    besideRecorder: 0,
    diedAtPoints: 0,
    flushed: 0,
    longestFailover: 0,
    caughtUp: { ms: 0, events: 0 },
    faults: [],
    seconds: 0,
  }

  const disturb = {
    async kill() {
      await notifiers.killLeader()
      const died = performance.now()
      report.kills++
      await progress(1)
      report.longestFailover = Math.max(report.longestFailover, Math.round(performance.now() - died))
    },
    async flush() {
      await options.redis.flush()
      report.flushed++
    },
    /** A notifier dies in the middle of it. */
    async away() {
      // Beside what comes meanwhile, nothing is to fill the stream.
      await progress(sending.sent() - reader.seen.size)
      await options.redis.away()
      say(`Redis is away, for ${options.awaySeconds} s`)
      const before = reader.seen.size
      await pause(options.awaySeconds * 500)
      await notifiers.killLeader()
      report.kills++
      await pause(options.awaySeconds * 500)
      await options.redis.back()
      const back = performance.now()
      const due = await count()
      await until(() => reader.seen.size >= due || reader.faults.length > 0, {
        within: 120_000,
        what: () => `${due} events to be seen, not ${reader.seen.size}`,
      })
      report.caughtUp = { ms: Math.round(performance.now() - back), events: due - before }
      say(`${due - before} events caught up after ${report.caughtUp.ms} ms`)
    },
  }

  try {
    const script: (keyof typeof disturb)[] = [
      ...Array.from({ length: options.kills - 1 }, () => 'kill' as const),
      ...Array.from({ length: options.flushes }, () => 'flush' as const),
      'away' as const,
    ]
    const order = script.map((what) => ({ what, at: random() })).toSorted((a, b) => a.at - b.at)
    await progress(rate)
    for (const { what } of order) {
      say(`${what}, after ${reader.seen.size} events`)
      await disturb[what]()
      await progress(1 + Math.floor(random() * rate * 2))
    }
    const sent = await sending.stop()
    // What the reader holds against the contract ends the wait: the report says it.
    await until(async () => reader.faults.length > 0 || ((await count()) === sent && reader.seen.size >= sent), {
      within: 120_000,
      what: () => `all ${sent} to be seen, not ${reader.seen.size}`,
    })
    await reader.stop()
    await notifiers.stop()
    await api.end('SIGTERM')
    const { events, faults } = await compare(pool, reader)
    Object.assign(report, {
      events,
      repeats: reader.repeats(),
      besideRecorder: notifiers.besideRecorder,
      diedAtPoints: notifiers.diedAtPoints,
      faults: [...reader.faults, ...faults, ...notifiers.faults, ...(api.fault === undefined ? [] : [api.fault])],
    })
    if (report.besideRecorder === 0) report.faults.push('no notifier that has a recorder beside it was killed while it led')
    if (events !== sent) report.faults.push(`${sent} events were sent, ${events} are in the audit`)
    report.seconds = Math.round((performance.now() - began) / 1000)
    return report
  } finally {
    await sending.stop().catch(() => undefined)
    await reader.stop()
    await notifiers.stop()
    await api.end('SIGTERM')
    await pool.end()
  }
}
