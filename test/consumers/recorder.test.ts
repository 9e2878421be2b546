// The recorder on a real Postgres, its batches made by hand: what Kafka does to it is tested in test/flows.

import fc from 'fast-check'
import t from 'tap'
import { closeOldIncidents } from '../../postgres/recorder-incidents.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { type TestDatabase, useDatabase } from '../support/database.ts'
import { decision, event, outcome, started } from '../support/events.ts'
import { type Entry, randomLog } from '../support/random-log.ts'
import { batchOf, codec, PARTITION, recorderOn, recordLog, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const id = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

/** Actions, timers and waits as they are stored. */
async function workOf({ admin }: TestDatabase): Promise<unknown[]> {
  const tables = ['workflow_actions', 'workflow_timers', 'workflow_waits']
  return Promise.all(tables.map(async (table) => (await admin.query(`SELECT * FROM refold.${table} ORDER BY 1, 2, 3`)).rows))
}

t.test('the recorder', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('stores audit, heads, executions and checkpoint of a batch together', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    t.equal(await recorder.checkpoint(PARTITION), 0)
    const events = [
      event({ to_state: 'received', payload: '{"sum":9007199254740993}', business_key: 'k', workflow_name: 'order' }),
      event({ event_id: id(2), from_state: 'anything', payload: '{"note":"tab\\tand\\nline \\\\ slash"}' }),
      event({ event_id: id(3), to_state: 'checked', user_id: 'back\\slash\ttab'.replaceAll('\t', ' ') }),
    ]
    t.equal(
      await recorder.batch(
        batchOf(
          events.map((one, i) => recordOf(one, i)),
          0,
        ),
      ),
      3,
    )
    t.equal(await recorder.checkpoint(PARTITION), 3)
    const { rows } = await database.admin.query(
      `SELECT seq, event_id, from_state, to_state, payload, user_id, partition, log_offset FROM refold.workflow_events ORDER BY seq`,
    )
    t.strictSame(
      rows.map((row) => [row.seq, row.event_id, row.from_state, row.to_state, row.payload, row.user_id, row.partition, row.log_offset]),
      [
        ['1', events[0]?.event_id, 'initial', 'received', events[0]?.payload, null, PARTITION, '0'],
        ['2', id(2), 'received', '', events[1]?.payload, null, PARTITION, '1'],
        ['3', id(3), 'received', 'checked', null, 'back\\slash tab', PARTITION, '2'],
      ],
    )
    const executions = await database.admin.query(
      `SELECT current_state, status, data::text, last_seq, business_key, workflow_name FROM refold.workflow_executions`,
    )
    t.match(executions.rows, [{ current_state: 'checked', status: 'running', last_seq: '3', business_key: 'k', workflow_name: 'order' }])
    t.match(executions.rows[0]?.data, /"sum":9007199254740993/)
  })

  t.test('stores every other verdict with its reason, and goes on with the valid neighbours', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    const good = recordOf(event(), 0)
    const records = [
      good,
      recordOf(event(), 1),
      recordOf(event({ payload: '{}' }), 2),
      { ...good, offset: 3, value: new Uint8Array([1, 2, 3]) },
      { ...good, offset: 4, value: null, key: null },
      { ...good, offset: 5, value: Buffer.concat([Buffer.from([0, 0, 0, 0, 99]), codec.encode(event()).subarray(5)]) },
      recordOf(event({ event_id: id(6), payload: '{"a":"\0"}', event_name: 'nul\0name', tenant: 'other' }), 6),
      recordOf(event({ event_id: id(7), to_state: 'completed' }), 7),
      recordOf(event({ event_id: id(8) }), 8),
    ]
    await recorder.batch(batchOf(records, 0))
    const { rows } = await database.admin.query(
      'SELECT log_offset, verdict, reason, record_value FROM refold.event_verdicts ORDER BY log_offset',
    )
    t.strictSame(
      rows.map((row) => `${row.log_offset} ${row.verdict} ${row.reason} ${row.record_value ? 'kept' : ''}`.trim()),
      [
        '1 duplicate same-content',
        '2 conflict other-content kept',
        '3 quarantined undecodable kept',
        '4 quarantined undecodable',
        '5 quarantined schema-unknown kept',
        '6 quarantined not-storable kept',
        '8 late ended kept',
      ],
    )
    const audit = await database.admin.query('SELECT log_offset FROM refold.workflow_events ORDER BY log_offset')
    t.strictSame(
      audit.rows.map((row) => row.log_offset),
      ['0', '7'],
    )
  })

  t.test('R1: of two recorders on one partition, one is overtaken and stores nothing', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const [one, other] = [recorderOn(database), recorderOn(database)]
    const batch = batchOf([recordOf(event(), 0)], 0)
    await one.checkpoint(PARTITION)
    const ends = await Promise.all([one.batch(batch), other.batch(batch)])
    t.strictSame(ends, [1, 1], 'both go on at the checkpoint')
    t.equal((await database.admin.query('SELECT * FROM refold.workflow_events')).rowCount, 1)
    t.equal((await database.admin.query('SELECT * FROM refold.event_verdicts')).rowCount, 0, 'the second reading is no duplicate')
  })

  t.test('R4: while the registry does not answer, the batch fails, and stores nothing', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database, { lookup: async () => Promise.reject(new Error('registry down')) })
    await recorder.checkpoint(PARTITION)
    const unknown = { ...recordOf(event(), 0), value: Buffer.from([0, 0, 0, 0, 99, 1]) }
    await t.rejects(recorder.batch(batchOf([unknown], 0)), /registry down/)
    t.equal(await recorder.checkpoint(PARTITION), 0)
    t.equal((await database.admin.query('SELECT * FROM refold.event_verdicts')).rowCount, 0)
  })

  t.test('a batch of control records alone moves the checkpoint', async (t) => {
    const recorder = recorderOn(await useDatabase(t, databaseUrl))
    await recorder.checkpoint(PARTITION)
    t.equal(await recorder.batch(batchOf([], 0, 4)), 4)
    t.equal(await recorder.checkpoint(PARTITION), 4)
  })

  t.test('a derived row that is missing is folded from the audit', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    await recorder.batch(batchOf([recordOf(started(), 0), recordOf(outcome(1, 1), 1)], 0))
    await database.admin.query('TRUNCATE refold_derived_g1.workflow_executions')
    await recorder.batch(batchOf([recordOf(event({ event_id: id(3) }), 2)], 2))
    const { rows } = await database.admin.query('SELECT data, last_seq, workflow_name FROM refold.workflow_executions')
    t.match(rows, [{ data: { $actions: { reserve: 1 } }, last_seq: '3', workflow_name: 'order' }])
  })

  t.test('actions, timers and waits are stored with the events, digits and all; made anew where they were not yet', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    const retry = { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 }
    const payload = (value: object) => ({ payload: JSON.stringify(value) })
    const scheduled = decision(1, '', {
      event_name: 'action.scheduled',
      to_state: '',
      ...payload({
        name: 'pay',
        key: 'k',
        group: null,
        arguments: {},
        parameters: {},
        retry,
        timeout_ms: 1,
        guarantee: 'at-most-once',
        queue: 'q',
      }),
    })
    const chain = nextChain('', contentOf(scheduled))
    const wait = decision(2, chain, { event_name: 'wait.started', to_state: '', ...payload({ names: ['a', 'b'] }) })
    const failed = outcome(1, 1, {
      event_name: 'action.attemptFailed',
      ...payload({ action: 1, attempt: 1, worker: 'w', error: { name: 'E', message: 'm' } }),
    })
    const records = [started(), scheduled, wait, failed].map((one, offset) => recordOf(one, offset))
    await recorder.batch(batchOf(records, 0))
    const rows = async (table: string) => (await database.admin.query(`SELECT * FROM refold.${table}`)).rows
    t.match(await rows('workflow_actions'), [
      {
        action: 1,
        name: 'pay',
        queue: 'q',
        key: 'k',
        guarantee: 'at-most-once',
        status: 'backing-off',
        attempt: 1,
        attempts: 3,
        worker: 'w',
        last_error: { message: 'm' },
      },
    ])
    t.match(await rows('workflow_waits'), [{ wait: 2, names: ['a', 'b'], status: 'open', ended_at: null }])
    await database.admin.query('TRUNCATE refold_derived_g1.workflow_actions, refold_derived_g1.workflow_waits')
    const retried = decision(3, nextChain(chain, contentOf(wait)), {
      event_name: 'action.retried',
      to_state: '',
      ...payload({ action: 1, attempt: 2, name: 'pay' }),
    })
    const done = outcome(1, 2, { payload: '{"action":1,"attempt":2,"name":"pay","result":{"n":9007199254740993,"x":1e999}}' })
    await recorder.batch(batchOf([recordOf(retried, 4)], 4))
    await recorder.batch(batchOf([recordOf(done, 5)], 5))
    const { rows: stored } = await database.admin.query('SELECT status, attempt, result::text FROM refold.workflow_actions')
    t.same(stored, [{ status: 'completed', attempt: 2, result: '{"n":9007199254740993,"x":1e999}' }])
    t.match(await rows('workflow_waits'), [{ wait: 2, status: 'open' }], 'the wait too was folded from the history')
    await recorder.batch(batchOf([recordOf(event({ event_id: id(7), event_name: 'workflow.terminateRequested' }), 6)], 6))
    t.match(await rows('workflow_waits'), [{ wait: 2, status: 'abandoned', ended_at: new Date(1_700_000_000_006) }])
  })

  t.test('quarantined records open one incident for each reason and tenant; a day after the newest it closes', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    const good = recordOf(event(), 0)
    const wrong = (offset: number, tenant: string) => recordOf(event({ event_id: id(offset), event_name: '', tenant }), offset)
    const garbage = { ...good, offset: 1, value: new Uint8Array([1]) }
    const open = async () =>
      (
        await database.admin.query(
          'SELECT tenant, partition, summary, evidence FROM refold.incidents WHERE closed_at IS NULL ORDER BY 1, 3',
        )
      ).rows
    await recorder.batch(batchOf([good, garbage, wrong(2, 'a'), wrong(3, 'a'), wrong(4, 'b')], 0))
    await recorder.batch(batchOf([wrong(5, 'a'), recordOf(event(), 6)], 5))
    t.match(await open(), [
      {
        tenant: 'a',
        partition: PARTITION,
        summary: /bad-name.*the newest at p\d+:5/,
        evidence: { reason: 'bad-name', records: 3, first: /:2$/, newest: /:5$/, detail: /empty/ },
      },
      { tenant: 'b', evidence: { reason: 'bad-name', records: 1 } },
      { tenant: null, evidence: { reason: 'undecodable', records: 1 } },
    ])
    t.equal((await open()).length, 3, 'duplicates are nobody’s concern')
    await recorder.batch(batchOf([{ ...wrong(7, 'b'), appendedAt: Date.now() }], 7))
    t.equal(await closeOldIncidents(database.engine), 2)
    t.match(await open(), [{ tenant: 'b', evidence: { records: 2 } }])
    await recorder.batch(batchOf([{ ...wrong(8, 'a'), appendedAt: Date.now() }], 8))
    t.match(await open(), [{ tenant: 'a', evidence: { records: 1, first: /:8$/ } }, { tenant: 'b' }], 'a new one opens another')
    const { tenant, execution_id: executionId } = event()
    await database.admin.query(
      `INSERT INTO refold.incidents (kind, subject, tenant, execution_id, partition, summary, evidence)
       VALUES ('diverged', 'one', $1, $2, $3, 'step 1', '{}')`,
      [tenant, executionId, PARTITION],
    )
    t.equal(await closeOldIncidents(database.engine), 0, 'of an execution that goes on')
    await recorder.batch(batchOf([recordOf(event({ event_id: id(9), event_name: 'workflow.terminateRequested' }), 9)], 9))
    t.equal(await closeOldIncidents(database.engine), 1, 'of one that has ended')
    await database.admin.query(
      `INSERT INTO refold.incidents (kind, subject, summary, evidence, opened_at)
       VALUES ('offset-refused', 'cases@g1', '', '{}', now() - interval '25 hours'), ('offset-refused', 'cases@g2', '', '{}', now())`,
    )
    t.equal(await closeOldIncidents(database.engine), 1, 'offsets that were refused a day ago')
  })

  t.test('M1: what a recorder remembers is dropped when another wrote in between', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const [one, other] = [recorderOn(database, undefined, 1000), recorderOn(database, undefined, 1000)]
    await one.checkpoint(PARTITION)
    const records = [1, 2, 3, 2, 4].map((n, offset) => recordOf(event({ event_id: id(n), payload: `{"k${n}":${n}}` }), offset))
    const part = (i: number) => batchOf(records.slice(i, i + 1), i)
    await one.batch(part(0))
    await other.batch(part(1))
    t.equal(await one.batch(part(1)), 2, 'overtaken')
    await one.batch(part(2))
    await other.batch(part(3))
    await one.batch(part(4))
    const { rows } = await database.admin.query('SELECT last_seq, data FROM refold.workflow_executions')
    t.match(rows, [{ last_seq: '4', data: { k1: 1, k2: 2, k3: 3, k4: 4 } }])
    const verdicts = await database.admin.query('SELECT log_offset, verdict FROM refold.event_verdicts')
    t.match(verdicts.rows, [{ log_offset: '3', verdict: 'duplicate' }])
  })

  t.test('however a log is cut into batches, the tables end the same', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const snapshot = async () => {
      const audit = await database.admin.query(
        'SELECT seq, event_id, from_state, to_state, log_offset FROM refold.workflow_events ORDER BY log_offset',
      )
      const verdicts = await database.admin.query('SELECT log_offset, verdict, reason FROM refold.event_verdicts ORDER BY log_offset')
      const executions = await database.admin.query(
        'SELECT status, current_state, data::text, last_seq, last_offset FROM refold.workflow_executions',
      )
      const heads = await database.admin.query('SELECT seq, phase, decision, next_chain, open_timers::text FROM refold.execution_heads')
      const snapshots = await database.admin.query('SELECT seq, state, digest FROM refold.workflow_snapshots ORDER BY seq')
      return [audit.rows, verdicts.rows, executions.rows, heads.rows, snapshots.rows, await workOf(database)]
    }
    const record = async (log: readonly Entry[], cuts: readonly number[], remembered = 0) => {
      await recordLog(database, log, cuts, remembered)
      return snapshot()
    }
    await fc.assert(
      fc.asyncProperty(randomLog, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }), async (log, cuts) => {
        const whole = await record(log, [log.length + 1])
        t.strictSame(await record(log, cuts), whole)
        t.strictSame(await record(log, cuts, 1000), whole, 'with what it remembers')
        // As after a restore: the tables are gone, and one more event finds the rows folded from the history.
        const work = await workOf(database)
        await database.admin.query(
          'TRUNCATE refold_derived_g1.workflow_executions, refold_derived_g1.workflow_actions, refold_derived_g1.workflow_timers, refold_derived_g1.workflow_waits',
        )
        await recorderOn(database).batch(
          batchOf([recordOf(event({ event_id: id(99) }), log.length, { appendedAt: 1_800_000_000_000 })], log.length),
        )
        const { rows } = await database.admin.query('SELECT FROM refold.workflow_events WHERE event_id = $1', [id(99)])
        if (rows.length > 0) t.strictSame(await workOf(database), work, 'made anew from the audit')
      }),
      { numRuns: 30 },
    )
  })
})
