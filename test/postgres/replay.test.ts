// State at every moment, over real Postgres, against the plain fold of the accepted events.

import fc from 'fast-check'
import t from 'tap'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { createStateCache, getByExecutionId, getByExecutionIdUntil, replayEvents, type ReplayOptions } from '../../postgres/reads/replay.ts'
import { applyEvent, type ExecutionState, initial } from '../../workflow/execution.ts'
import { useDatabase } from '../support/database.ts'
import { event, EXECUTION, TENANT } from '../support/events.ts'
import { type Entry, randomLogOf } from '../support/random-log.ts'
import { recordLog } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const id = (n: number) => `44444444-4444-4444-8444-${String(n).padStart(12, '0')}`
const plainLog = (length: number): Entry[] =>
  Array.from({ length }, (_, i) => ({
    event: event({
      event_id: id(i),
      to_state: `s${i % 7}`,
      payload: `{"k${i % 5}":${i},"big":9007199254740993}`,
      created_at: 1_000_000 + i * 10,
    }),
    appendedAt: 2_000_000 + i * 10,
  }))

type Part = Pick<ExecutionState, 'currentState' | 'data' | 'status' | 'seq' | 'result'>
const partOf = ({ currentState, data, status, seq, result }: Part) => JSON.stringify({ currentState, data, status, seq, result })

t.test('replay', async (t) => {
  const stack = useStack(t, ['postgres'])
  if (!stack?.databaseUrl) return
  const database = await useDatabase(t, stack.databaseUrl)
  const pool = createReadPool(database.url, { max: 2, name: 'test-replay' })
  t.teardown(() => pool.close())
  const replay = (options: ReplayOptions = {}) => replayEvents(pool, EXECUTION, TENANT, options)

  /** The states after each accepted event, by the audit's ids and the log's own records. */
  async function statesOf(log: readonly Entry[]): Promise<ExecutionState[]> {
    const { rows } = await database.admin.query<{ log_offset: string }>('SELECT log_offset FROM refold.workflow_events ORDER BY log_offset')
    const states = [initial(TENANT, EXECUTION)]
    for (const [i, row] of rows.entries()) {
      const entry = log[Number(row.log_offset)]
      const before = states.at(-1)
      if (!entry || !before) throw new Error('the audit names a record that was not sent')
      states.push(applyEvent(before, { event: entry.event, seq: i + 1, appendedAt: entry.appendedAt }))
    }
    return states
  }

  t.test('state at every seq is the plain fold, with snapshots, without, deleted, spoiled, for any cut of batches', async (t) => {
    await fc.assert(
      fc.asyncProperty(
        randomLogOf(30, 70),
        fc.array(fc.integer({ min: 1, max: 25 }), { minLength: 1, maxLength: 4 }),
        async (log, cuts) => {
          await recordLog(database, log, cuts)
          const states = await statesOf(log)
          if (states.length === 1) return
          const check = async (options: ReplayOptions, what: string) => {
            for (const [seq, state] of states.entries()) {
              const replayed = await replay({ ...options, replayUntil: seq })
              if (!replayed || partOf(replayed) !== partOf(state)) t.fail(`${what}: seq ${seq}`, { found: replayed, wanted: state })
            }
          }
          await check({}, 'with snapshots')
          await check({ useSnapshots: false, batchSize: 7 }, 'without')
          await database.admin.query(
            `UPDATE refold_derived_g1.workflow_snapshots SET state = replace(state, '"status"', '"spoiled"') WHERE seq = 40`,
          )
          await check({}, 'one spoiled')
          await database.admin.query('DELETE FROM refold_derived_g1.workflow_snapshots')
          await check({}, 'deleted')
        },
      ),
      { numRuns: 8 },
    )
    t.pass('no state differed')
  })

  t.test('snapshots are taken every 20 events, the newest 5 kept, and used', async (t) => {
    const log = plainLog(205)
    await recordLog(database, log, [7, 31])
    const { rows } = await database.admin.query('SELECT seq FROM refold.workflow_snapshots ORDER BY seq')
    t.strictSame(
      rows.map((row) => Number(row.seq)),
      [120, 140, 160, 180, 200],
    )
    t.match(await replay({ debug: true }), { seq: 205, debug: { snapshotSeq: 200, eventsRead: 5, snapshotsRefused: 0 } })
    t.match(await replay({ debug: true, replayUntil: 130 }), { seq: 130, debug: { snapshotSeq: 120, eventsRead: 10 } })
    t.match(await replay({ debug: true, useSnapshots: false, batchSize: 50 }), {
      seq: 205,
      debug: { snapshotSeq: 0, eventsRead: 205, batches: 5 },
    })
    await database.admin.query(`UPDATE refold_derived_g1.workflow_snapshots SET state = '{}' WHERE seq = 200`)
    t.match(await replay({ debug: true }), { seq: 205, debug: { snapshotSeq: 180, eventsRead: 25, snapshotsRefused: 1 } })
    t.equal(JSON.stringify((await replay())?.data['big']), '9007199254740993')
  })

  t.test('a moment in time is the longest prefix at or before it, by business time or by append time', async (t) => {
    const log = plainLog(60)
    const late = log[30]
    if (late) late.event = { ...late.event, created_at: 1_000_000 + 10_000 }
    await recordLog(database, log, [9])
    t.equal((await replay({ replayUntil: new Date(1_000_000 + 50) }))?.seq, 6)
    t.equal(
      (await replay({ replayUntil: new Date(1_000_000 + 500) }))?.seq,
      30,
      'the event out of order ends the prefix, past every snapshot',
    )
    t.equal((await replay({ replayUntil: new Date(1_000_000 + 10_000) }))?.seq, 60)
    t.equal((await replay({ recordedUntil: new Date(2_000_000 + 405) }))?.seq, 41)
    t.equal((await replay({ replayUntil: new Date(0) }))?.seq, 0)
    t.equal((await replay({ replayUntil: 0 }))?.currentState, 'initial')
  })

  t.test('the cache answers by seq, and is passed by with debug, a bound, or without snapshots', async (t) => {
    await recordLog(database, plainLog(25), [25])
    const cache = createStateCache({ max: 10, ttl: 60_000 })
    const cached = (options: ReplayOptions = {}) => replayEvents(pool, EXECUTION, TENANT, options, cache)
    const first = await cached()
    const second = await cached()
    t.equal(cache.hits, 1)
    t.strictSame(second?.data, first?.data)
    for (const options of [{ debug: true }, { replayUntil: 3 }, { useSnapshots: false }]) await cached(options)
    t.equal(cache.hits, 1)
    await recordLog(database, plainLog(26), [26])
    t.equal((await cached())?.seq, 26, 'a new event, another key')
  })

  t.test('histories, other tenants, and what does not exist', async (t) => {
    await recordLog(database, plainLog(12), [12])
    t.equal((await getByExecutionId(pool, EXECUTION, TENANT)).length, 12)
    t.equal((await getByExecutionIdUntil(pool, EXECUTION, TENANT, 5)).length, 5)
    t.equal(await replayEvents(pool, EXECUTION, 'other'), undefined)
    t.equal(await replayEvents(pool, id(99), TENANT), undefined)
    await t.rejects(async () => replay({ replayUntil: -1 }), { code: 'request-invalid' })
    await t.rejects(async () => replay({ replayUntil: new Date('x') }), { code: 'request-invalid' })
  })
})
