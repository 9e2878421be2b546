// A rebuild under load: events come in and rows are read, at rates, while generations are built, compared, promoted and gone back
// from; projector, API and terminal are killed in the middle; a reader holds the view open. No reader may notice.

import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'pg'
import { caseOf, type Load, paced, ReadLog, readInSql, readOverRest, watchLocks, WriteWatch, Written } from '../support/rebuild-load.ts'
import { launchRefold } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { until } from '../support/wait.ts'
import { type Operation, Operators } from './operators.ts'
import { randomOf } from './workload.ts'

export type RebuildOptions = {
  seed: number
  /** Events a second, over REST. */
  eventRate: number
  /** Rows read a second, over REST; half as many more in SQL. */
  readRate: number
  /** Executions that get events; a tenth of them has events that a changed fold counts twice. */
  executions: number
  /** How long a foreign transaction holds the view open, seconds. */
  heldSeconds: number
  /** Environment of all processes: servers, prefix, tokens; the token is `token`. */
  env: NodeJS.ProcessEnv
  databaseUrl: string
  say: (line: string) => void
}

/** How long the live rows' writes stood still around a swap, ms: see WriteWatch. */
type Swap = { what: string; gap: number; held: number }
type Times = { p50: number; p99: number; max: number; reads: number }

export type RebuildReport = {
  events: number
  asked: { eventsPerSecond: number; restReadsPerSecond: number; sqlReadsPerSecond: number }
  /** Over the whole time of load. */
  achieved: { eventsPerSecond: number; restReadsPerSecond: number; sqlReadsPerSecond: number }
  /** How long reads took, ms, by part of the run. */
  rest: Record<string, Times>
  sql: Record<string, Times>
  /** The first is without any swap, for comparison. */
  swaps: Swap[]
  /** The longest that a read was seen waiting for a lock while the view was held open, and in the rest of the run, ms. */
  waited: { held: number; otherwise: number }
  killed: string[]
  faults: string[]
  seconds: number
}

/** Longest pause of writes at a promotion or rollback, and longest wait of a read for a lock, ms. */
const LONGEST_PAUSE = 1000
const LONGEST_WAIT = 250
const WRITERS = 4
const READERS = 32
/** Events of each execution before the load begins: a build has something to do. */
const HISTORY = 10
/** Rows spoiled by hand, of each kind: as many quiet executions, of which neither writers nor readers know. */
const SPOILED = 20

const timesOf = (sorted: readonly number[]): Times => {
  const at = (share: number) => Math.round(10 * (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0)) / 10
  return { p50: at(0.5), p99: at(0.99), max: at(1), reads: sorted.length }
}

export async function runRebuild(options: RebuildOptions): Promise<RebuildReport> {
  const { seed, eventRate, readRate, executions, databaseUrl, say } = options
  const random = randomOf(seed)
  const sqlRate = readRate / 2
  const env = { ...options.env, REFOLD_OPERATOR_TOKENS: 'token', REFOLD_GROUP_SESSION: '6000', REFOLD_GROUP_HEARTBEAT: '1000' }
  const isTwice = new Set(Array.from({ length: executions }, (_, n) => n).filter(() => random() < 0.1))
  const load: Load = { executions, stateOf: (n, nth) => (nth === 1 && isTwice.has(n) ? 'paid' : `s${nth}`) }
  const quiet: Load = { executions: executions + 2 * SPOILED, stateOf: (_, nth) => `s${nth}` }
  const began = performance.now()
  const pool = new Pool({ connectionString: databaseUrl, max: 4 })
  pool.on('error', () => undefined)
  // Readers and writers have an API of their own; the operator's is killed.
  const server = launchRefold(env, 'api,recorder')
  const { url } = await server.running
  const rest = restOf(url, 'token')
  const operators = new Operators(env, rest)
  const written = new Written(load)
  const spoiled = new Written(quiet)
  const [restLog, sqlLog] = [new ReadLog(), new ReadLog()]
  const writes = new WriteWatch()
  const waited = { held: 0, otherwise: 0 }
  let isHeld = false
  const faults: string[] = []
  const report: RebuildReport = {
    events: 0,
    asked: { eventsPerSecond: eventRate, restReadsPerSecond: readRate, sqlReadsPerSecond: sqlRate },
    achieved: { eventsPerSecond: 0, restReadsPerSecond: 0, sqlReadsPerSecond: 0 },
    rest: {},
    sql: {},
    swaps: [],
    waited,
    killed: operators.killed,
    faults,
    seconds: 0,
  }
  const over = new AbortController()
  let loaded: Promise<unknown> = Promise.resolve()
  const expect = (isRight: boolean, what: string) => void (isRight || faults.push(what))

  async function folded(): Promise<void> {
    const due = written.total + spoiled.total
    let seen = {}
    await until(
      async () => {
        const { rows } = await pool.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')
        const { lag } = await operators.live()
        seen = { recorded: Number(rows[0]?.n), lag }
        return Number(rows[0]?.n) === due && lag === 0
      },
      { within: 120_000, every: 200, what: () => `all of ${due} events to be folded: ${JSON.stringify(seen)}` },
    )
  }
  const tell = (part: string) => {
    report.rest[part] = timesOf(restLog.take())
    report.sql[part] = timesOf(sqlLog.take())
    say(`${part}: REST ${JSON.stringify(report.rest[part])}, SQL ${JSON.stringify(report.sql[part])}`)
  }

  const settled = async () => {
    await pause(2000)
    await until(async () => (await operators.live()).lag < eventRate, { within: 60_000, what: 'the live rows to be new' })
    await pause(1000)
  }

  /** Waits for writes to go on after a swap, and reports how long they did not. */
  async function stoodStill(what: string): Promise<void> {
    await pause(2000)
    const { gap, held } = writes.longest()
    report.swaps.push({ what, gap, held })
    say(`${what}: writes stood still for ${gap} ms, on hold ${held} ms`)
    expect(gap < LONGEST_PAUSE, `${what} stopped writes for ${gap} ms`)
  }

  /** Asks, waits until it is done, and then for writes to go on. */
  async function swap(verb: 'promote' | 'rollback', id: string | undefined, generation: number): Promise<void> {
    // A projector that was killed is back when its group's session is over: that pause is its death's.
    await settled()
    writes.begin()
    const asked = await operators.ask(verb)
    await operators.reached(id ?? asked, 'done')
    await stoodStill(`${verb} to generation ${generation}`)
    const { liveGeneration } = await operators.live()
    expect(liveGeneration === generation, `generation ${liveGeneration} is live after a ${verb} to ${generation}`)
  }

  /** Rows of quiet executions are made wrong, taken away, and added, in the live generation. */
  async function spoil(generation: number): Promise<string[]> {
    const [wrong, missing] = [0, SPOILED].map((first) => Array.from({ length: SPOILED }, (_, i) => caseOf(executions + first + i)))
    const extra = Array.from({ length: SPOILED }, (_, i) => caseOf(executions + 2 * SPOILED + i))
    const table = `refold_p_cases_g${generation}.cases`
    await pool.query(`UPDATE ${table} SET amount = amount + 1 WHERE execution = ANY ($1)`, [wrong])
    await pool.query(`DELETE FROM ${table} WHERE execution = ANY ($1)`, [missing])
    await pool.query(`INSERT INTO ${table} (partition, tenant, execution, events) SELECT 3, 'tenant', e, 1 FROM unnest($1::uuid[]) e`, [
      extra,
    ])
    // As seen from the live one: what it lacks is extra in the new one.
    return [...wrong!.map((one) => `changed ${one}`), ...missing!.map((one) => `extra ${one}`), ...extra.map((one) => `missing ${one}`)]
  }

  function compared({ comparison }: Operation, expected: readonly string[], what: string): void {
    const differing = comparison?.differing ?? -1
    const shown = (comparison?.partitions ?? []).flatMap((one) => one.shown.map(({ kind, key }) => `${kind} ${key.execution}`))
    say(`${what}: ${differing} differing rows, ${expected.length} expected`)
    expect(differing === expected.length, `${what}: ${differing} rows differ, not ${expected.length}`)
    const found = new Set(shown)
    const lost = expected.filter((one) => !found.has(one))
    expect(lost.length === 0 && found.size === expected.length, `${what}: ${lost.length} are not shown, like ${lost[0]}`)
  }

  /** A transaction reads the view and stays open; the promotion waits for it, whoever is killed, and keeps no other read waiting. */
  async function held(id: string, live: number, built: number): Promise<void> {
    const holder = await pool.connect()
    await holder.query('BEGIN')
    await holder.query('SELECT count(*) FROM projections.cases')
    const from = performance.now()
    isHeld = true
    await operators.typeAndDie('promote', 'as it followed a promotion that waits')
    await operators.reached(id, 'promoting')
    await operators.kill('projector', 'during a promotion that waits')
    await operators.kill('api', 'during a promotion that waits')
    await settled()
    writes.begin()
    await pause(Math.max(0, from + 1000 * options.heldSeconds - performance.now()))
    expect((await operators.live()).liveGeneration === live, 'promoted while the view was held open')
    await holder.query('COMMIT')
    holder.release()
    await operators.reached(id, 'done')
    isHeld = false
    await stoodStill(`promote to generation ${built}, while the view was held open`)
    expect((await operators.live()).liveGeneration === built, 'not promoted when the view was free again')
  }

  /** Every row, against the events that were acknowledged. */
  async function wholeTable(): Promise<void> {
    const { rows } = await pool.query<{ execution: string; events: string; state: string; amount: number }>(
      'SELECT execution::text, events, state, amount FROM projections.cases',
    )
    const rowOf = new Map(rows.map((row) => [row.execution, row]))
    const all = [...written.events.keys(), ...Array.from({ length: 2 * SPOILED }, (_, i) => executions + i)]
    expect(rows.length === all.length, `${rows.length} rows at the end, not ${all.length}`)
    for (const n of all) {
      const events = n < executions ? written.events[n]! : spoiled.events[n]!
      const row = rowOf.get(caseOf(n))
      const isRight = row && Number(row.events) === events && row.state === load.stateOf(n, events) && row.amount === events * n
      expect(isRight === true, `${n}: ${JSON.stringify(row)} at the end, of ${events} events`)
    }
  }

  try {
    await operators.start('projector')
    await operators.start('api')
    say(`${HISTORY * executions} events of ${executions} executions, to begin with`)
    for (let round = 0; round < HISTORY; round++)
      for (let n = 0; n < executions; n += 500)
        await written.send(
          rest,
          load,
          Array.from({ length: Math.min(500, executions - n) }, (_, i) => n + i),
        )
    await spoiled.send(
      rest,
      quiet,
      Array.from({ length: 2 * SPOILED }, (_, i) => executions + i),
    )
    await folded()

    const startedAt = performance.now()
    const before = written.total
    const writing = Array.from({ length: WRITERS }, async (_, writer) => {
      const each = Math.ceil(eventRate / WRITERS / 5)
      const mine = Array.from({ length: executions }, (__, n) => n).filter((n) => n % WRITERS === writer)
      let at = 0
      await paced(eventRate / WRITERS / each, over.signal, async () => {
        await written.send(
          rest,
          load,
          Array.from({ length: each }, (__, i) => mine[(at + i) % mine.length]!),
        )
        at += each
      })
    })
    const beside = [
      ...writing,
      readOverRest(load, { rest, readers: READERS, rate: readRate, written, log: restLog }, over.signal),
      readInSql(load, { databaseUrl, rate: sqlRate, log: sqlLog }, over.signal),
      writes.run(pool, over.signal),
      watchLocks(pool, over.signal, (ms) => {
        const when = isHeld ? 'held' : 'otherwise'
        waited[when] = Math.max(waited[when], Math.round(ms))
      }),
    ]
    loaded = Promise.all(beside)
    const script = async () => {
      await pause(3000)
      restLog.take()
      sqlLog.take()
      writes.begin()
      await pause(10_000)
      report.swaps.push({ what: 'no swap, for 10 s', ...writes.longest() })
      tell('nothing but load')

      const first = await operators.typeAndDie('rebuild', 'as it followed a rebuild')
      const state = await operators.underWay(first)
      expect(state === 'building' || state === 'comparing', `the rebuild was ${state} already when its processes were killed`)
      await Promise.all([operators.kill('projector', `during a rebuild, ${state}`), operators.kill('api', `during a rebuild, ${state}`)])
      compared(await operators.reached(first, 'ready'), [], 'unchanged code')
      tell('rebuild, with kills')
      await swap('promote', first, 2)
      await swap('rollback', undefined, 1)
      await swap('rollback', undefined, 2)
      tell('promote, roll back, and forth')
      await operators.retire()

      const planted = await spoil(2)
      const second = await operators.ask('rebuild')
      compared(await operators.reached(second, 'ready'), planted, 'rows spoiled by hand')
      await swap('promote', second, 3)
      tell('rebuild, promote')
      await operators.retire()

      await operators.start('projector', 'changed')
      const third = await operators.ask('rebuild')
      const otherwise = [...isTwice].map((n) => `changed ${caseOf(n)}`)
      compared(await operators.reached(third, 'ready'), otherwise, 'a changed fold')
      await operators.ask('abort')
      await operators.reached(third, 'aborted')
      await operators.start('projector')
      tell('rebuild with a changed fold')

      const fourth = await operators.ask('rebuild')
      const ready = await operators.reached(fourth, 'ready')
      compared(ready, [], 'unchanged code again')
      tell('rebuild again')
      await held(fourth, 3, ready.generation)
      tell('promote, while the view is held open')
    }
    await Promise.race([script(), loaded.then(() => Promise.reject(new Error('the load ended')))])
    const seconds = (performance.now() - startedAt) / 1000
    report.achieved = {
      eventsPerSecond: Math.round((written.total - before) / seconds),
      restReadsPerSecond: Math.round(restLog.reads / seconds),
      sqlReadsPerSecond: Math.round(sqlLog.reads / seconds),
    }
    over.abort()
    await loaded
    await folded()
    report.events = written.total + spoiled.total
    await wholeTable()
    expect(waited.held <= LONGEST_WAIT, `a read waited ${waited.held} ms for a lock while the view was held open`)
    expect(waited.otherwise <= LONGEST_WAIT, `a read waited ${waited.otherwise} ms for a lock`)
    expect(writes.backwards === 0, `${writes.backwards} times a checkpoint of the live generation went back`)
    await operators.stop()
    const ended = await server.stop()
    expect(ended === 0, `API and recorder ended with ${ended ?? server.child.signalCode}`)
    faults.push(...restLog.wrong, ...sqlLog.wrong, ...operators.faults)
    report.seconds = Math.round((performance.now() - began) / 1000)
    return report
  } finally {
    over.abort()
    await loaded.catch(() => undefined)
    await operators.stop()
    await server.stop()
    await pool.end()
  }
}
