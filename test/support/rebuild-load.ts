// Load on the projection `cases` of projection-app.ts, of which every state of every row is known beforehand: who writes, who
// reads over REST and in SQL and holds each row against that, and who watches locks and checkpoints meanwhile.

import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'pg'
import { outcomesOf, type Rest } from './rest.ts'

export type Load = {
  /** Executions that get events, numbered from 0. */
  executions: number
  /** State of an execution after so many events. */
  stateOf: (n: number, events: number) => string
}

type CaseRow = { events: string; state: string; amount: number }

/** What readers found wrong, how many reads there were, and how long each took, ms. */
export class ReadLog {
  readonly wrong: string[] = []
  /** Since the last `take`. */
  #times: number[] = []
  reads = 0

  saw(ms: number): void {
    this.reads++
    this.#times.push(ms)
  }

  /** How long the reads took since the last call, ms, in order. */
  take(): number[] {
    const times = this.#times.toSorted((a, b) => a - b)
    this.#times = []
    return times
  }
}

/** Numbers that end an execution's id: its own is told by its last 12 digits. */
export const caseOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a46-${n.toString(16).padStart(12, '0')}`

export const caseEvent = ({ stateOf }: Load, n: number, nth: number) => ({
  execution_id: caseOf(n),
  event_name: `case.${stateOf(n, nth)}`,
  to_state: stateOf(n, nth),
  payload: { amount: n },
})

/** What is wrong with a row, as the events that it counts say. */
function faultOf({ stateOf }: Load, n: number, row: CaseRow, last: number): string | undefined {
  const events = Number(row.events)
  if (events < last) return `${n}: ${events} events after ${last}`
  if (row.amount !== events * n || row.state !== stateOf(n, events)) return `${n}: half a row, ${JSON.stringify(row)}`
  return undefined
}

/** Runs `work` again and again, `rate` times a second at most, until `over`. One that takes long is followed at once. */
export async function paced(rate: number, over: AbortSignal, work: () => Promise<void>): Promise<void> {
  for (let due = performance.now(); !over.aborted; due = Math.max(due + 1000 / rate, performance.now() - 1000)) {
    await pause(Math.max(0, due - performance.now()))
    await work()
  }
}

/** What has been acknowledged of each execution: events, and the position of the last. */
export class Written {
  readonly events: number[]
  readonly positions: string[]
  total = 0

  constructor({ executions }: Load) {
    this.events = Array.from({ length: executions }, () => 0)
    this.positions = Array.from({ length: executions }, () => '')
  }

  /** Sends the next event of each of these; all are accepted, or it throws. */
  async send(rest: Rest, load: Load, executions: readonly number[]): Promise<void> {
    const answer = await rest.send(executions.map((n) => caseEvent(load, n, this.events[n]! + 1)))
    if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
    const outcomes = outcomesOf(answer)
    for (const [i, n] of executions.entries()) {
      this.events[n]!++
      this.positions[n] = outcomes[i]!.position
    }
    this.total += executions.length
  }
}

/** The last positions that a watermark covers: it tells where its reader goes next. */
const lastOf = (watermark: string) => watermark.replaceAll(/:(\d+)/g, (_, next: string) => `:${Number(next) - 1}`)

export type RestReading = {
  rest: Rest
  readers: number
  /** Reads a second of all readers together; without it, as fast as they go. */
  rate?: number
  /** Some reads then ask for a position: that of an event that was acknowledged, or the watermark of the read before. */
  written?: Written
  log: ReadLog
}

/** Reads rows one by one over REST until `over`: each whole, and none older than that reader saw before. */
export async function readOverRest(load: Load, { rest, readers, rate, written, log }: RestReading, over: AbortSignal): Promise<void> {
  const { executions } = load
  const reader = async (which: number) => {
    const last = new Map<number, number>()
    let watermark = ''
    let turn = 0
    await paced(rate === undefined ? Infinity : rate / readers, over, async () => {
      const n = (which + 7 * turn) % executions
      // One of 8 asks for the watermark that this reader saw, of which nothing may be taken back; one of 32 for an acknowledged
      // event, and waits for it.
      const waits = written !== undefined && turn % 32 === 31
      const asked = waits ? written.positions[n] : written && turn % 8 === 3 ? watermark : ''
      const least = waits ? written.events[n]! : (last.get(n) ?? 0)
      const headers: Record<string, string> = waits ? { prefer: 'wait=20' } : {}
      turn++
      const from = performance.now()
      try {
        const answer = await rest.get(
          `/v1/projections/cases/rows?execution=${caseOf(n)}${asked ? `&minPosition=${encodeURIComponent(asked)}` : ''}`,
          headers,
        )
        // A read that waits for the projection to come so far tells nothing of how long reads take.
        if (!waits) log.saw(performance.now() - from)
        else log.reads++
        const [row] = answer.status === 200 ? (answer.json() as { rows: CaseRow[] }).rows : []
        const fault = row ? faultOf(load, n, row, least) : `${n}: ${answer.status} ${answer.text} (${asked})`
        if (fault !== undefined) log.wrong.push(fault)
        if (row) last.set(n, Number(row.events))
        watermark = lastOf(answer.headers.get('refold-watermark') ?? '') || watermark
      } catch (error) {
        log.wrong.push(`${n}: ${String(error)}`)
      }
    })
  }
  await Promise.all(Array.from({ length: readers }, (_, i) => reader(i)))
}

const ONE = 'SELECT events, state, amount FROM projections.cases WHERE tenant = $1 AND execution = $2'
const ALL = `
  SELECT count(*)::int AS rows, sum(events)::float8 AS events,
    count(*) FILTER (WHERE amount <> events * ('x' || right(execution::text, 12))::bit(48)::bigint)::int AS half
  FROM projections.cases WHERE tenant = $1 AND execution < $2`

/** Reads rows, and once a second all rows at once, in SQL as a downstream team does. */
export async function readInSql(
  load: Load,
  { databaseUrl, rate, log }: { databaseUrl: string; rate: number; log: ReadLog },
  over: AbortSignal,
): Promise<void> {
  const pool = new Pool({ connectionString: databaseUrl, max: 2, application_name: 'refold-reader', options: '-c role=refold_reader' })
  pool.on('error', () => undefined)
  const last = new Map<number, number>()
  let turn = 0
  const timed = async <T extends object>(text: string, values: unknown[]) => {
    const from = performance.now()
    const { rows } = await pool.query<T>(text, values)
    log.saw(performance.now() - from)
    return rows[0]
  }
  const guarded = (work: () => Promise<void>) => () => work().catch((error: unknown) => void log.wrong.push(`SQL: ${String(error)}`))
  const rows = paced(
    rate,
    over,
    guarded(async () => {
      const n = (11 * turn++) % load.executions
      const row = await timed<CaseRow>(ONE, ['tenant', caseOf(n)])
      const fault = row ? faultOf(load, n, row, last.get(n) ?? 0) : `${n}: no row`
      if (fault !== undefined) log.wrong.push(`SQL: ${fault}`)
      if (row) last.set(n, Number(row.events))
    }),
  )
  let before = 0
  const whole = paced(
    1,
    over,
    guarded(async () => {
      const {
        rows: count,
        events,
        half,
      } = (await timed<{ rows: number; events: number; half: number }>(ALL, ['tenant', caseOf(load.executions)]))!
      if (count !== load.executions || half > 0 || events < before)
        log.wrong.push(`SQL: ${count} rows, ${half} of them half, ${events} events after ${before}`)
      before = events
    }),
  )
  await Promise.all([rows, whole])
  await pool.end()
}

/** The longest that a reader was seen waiting for a lock, ms; look every 10 ms. */
export async function watchLocks(pool: Pool, over: AbortSignal, seen: (ms: number) => void): Promise<void> {
  while (!over.aborted) {
    const { rows } = await pool.query<{ ms: number | null }>(
      `SELECT max(extract(epoch FROM clock_timestamp() - l.waitstart) * 1000)::float8 AS ms FROM pg_locks l JOIN pg_stat_activity USING (pid)
       WHERE NOT l.granted AND application_name IN ('refold-api', 'refold-reader') AND datname = current_database()`,
    )
    seen(rows[0]?.ms ?? 0)
    await pause(10)
  }
}

type Place = { partition: number; generation: number; next: number; held: boolean; at: number }

const PLACES = `
  SELECT c.partition, p.live_generation AS generation, c.next_offset::float8 AS next,
    coalesce(c.stop_until > clock_timestamp(), false) AS held, (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at
  FROM refold.projections p JOIN refold.checkpoints c ON c.reader = p.name || '@g' || p.live_generation WHERE p.name = 'cases'`

/** How long writes of the live rows stood still, in a time between two calls of `begin` and `longest`. Looks every 10 ms. */
export class WriteWatch {
  readonly #moved = new Map<number, Place>()
  readonly #heldSince = new Map<number, number>()
  #gap = 0
  #held = 0
  #backwards = 0

  begin(): void {
    this.#gap = 0
    this.#held = 0
  }

  /**
   * `gap`: the longest between two advances of the live generation's checkpoint of one partition, whichever generation is live,
   * ms. `held`: the longest that one was seen on hold, ms.
   */
  longest(): { gap: number; held: number } {
    return { gap: Math.round(this.#gap), held: Math.round(this.#held) }
  }

  /** Checkpoints that were lower than before. */
  get backwards(): number {
    return this.#backwards
  }

  #see(place: Place): void {
    const { partition, next, held, at } = place
    const before = this.#moved.get(partition)
    if (before && next < before.next) this.#backwards++
    if (before) this.#gap = Math.max(this.#gap, at - before.at)
    if (!before || next !== before.next) this.#moved.set(partition, place)
    if (!held) this.#heldSince.delete(partition)
    else if (!this.#heldSince.has(partition)) this.#heldSince.set(partition, at)
    this.#held = Math.max(this.#held, at - (this.#heldSince.get(partition) ?? at))
  }

  async run(pool: Pool, over: AbortSignal): Promise<void> {
    while (!over.aborted) {
      const { rows } = await pool.query<Place>(PLACES)
      for (const place of rows) this.#see(place)
      await pause(10)
    }
  }
}
