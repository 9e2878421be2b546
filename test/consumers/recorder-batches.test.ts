// Small batches of several partitions, which share a transaction or are one statement; batches are made by hand.

import t from 'tap'
import { contentOf, nextChain } from '../../workflow/content.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { useDatabase } from '../support/database.ts'
import { decision, event, started } from '../support/events.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { batchOf, PARTITION, PARTITIONS, recorderOn, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const id = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

t.test('small batches of the recorder', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return

  t.test('R5: small batches of several partitions share a transaction; one that was overtaken is left out', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const [ours, other] = [recorderOn(database), recorderOn(database)]
    const of = Array.from({ length: 40 }, (_, n) => event({ execution_id: id(n) })).map((one) => ({
      one,
      partition: partitionOf(one.execution_id, PARTITIONS),
    }))
    const partitions = [...new Set(of.map(({ partition }) => partition))]
    t.ok(partitions.length > 3)
    const batch = (partition: number) => {
      const records = of.filter((each) => each.partition === partition).map(({ one }, offset) => recordOf(one, offset, { partition }))
      return { ...batchOf(records, 0), partition }
    }
    for (const partition of partitions) await ours.checkpoint(partition)
    const [taken = -1] = partitions
    const theirs = { ...batch(taken), records: [], next: 1 }
    t.equal(await other.batch(theirs), 1)
    const nexts = await Promise.all(partitions.map((partition) => ours.batch(batch(partition))))
    t.strictSame(nexts, [1, ...partitions.slice(1).map((partition) => batch(partition).next)])
    const { rows } = await database.admin.query('SELECT partition, count(*)::int AS n FROM refold.workflow_events GROUP BY 1')
    t.same(
      new Map(rows.map(({ partition, n }) => [partition, n])),
      new Map(partitions.slice(1).map((partition) => [partition, batch(partition).next])),
    )
    const { rows: all } = await database.admin.query('SELECT DISTINCT xmin::text FROM refold.workflow_events')
    t.equal(all.length, 1, 'one transaction wrote all')
  })

  t.test('R5: a batch that cannot be stored fails alone', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await database.admin.query(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN IF new.partition = ${PARTITION} THEN RAISE 'refused'; END IF; RETURN new; END $$`)
    await database.admin.query(
      'CREATE TRIGGER refuse BEFORE INSERT ON refold.workflow_events FOR EACH ROW EXECUTE FUNCTION public.refuse()',
    )
    const others = Array.from({ length: 40 }, (_, n) => event({ execution_id: id(n) }))
    const healthy = others.find((one) => partitionOf(one.execution_id, PARTITIONS) !== PARTITION) ?? event()
    const partition = partitionOf(healthy.execution_id, PARTITIONS)
    for (const each of [PARTITION, partition]) await recorder.checkpoint(each)
    const bad = batchOf([recordOf(event(), 0)], 0)
    const good = { ...batchOf([recordOf(healthy, 0, { partition })], 0), partition }
    t.match(await Promise.allSettled([recorder.batch(bad), recorder.batch(good)]), [{ status: 'rejected' }, { value: 1 }])
    t.equal(await recorder.checkpoint(PARTITION), 0)
    await database.admin.query('DROP TRIGGER refuse ON refold.workflow_events')
    t.equal(await recorder.batch(bad), 1, 'stored once it can be')
  })

  t.test('batches that write to other tables do not meet in one prepared statement of a connection', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    const payloads = {
      'action.scheduled': {
        name: 'pay',
        key: 'k',
        group: null,
        arguments: {},
        parameters: {},
        retry: { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 },
        timeout_ms: 1,
        guarantee: 'at-most-once',
        queue: 'q',
      },
      'timer.started': { fire_at: '2030-01-01T00:00:00.000Z', purpose: 'sleep' },
      'wait.started': { names: ['a'] },
    }
    let chain = ''
    let n = 0
    const next = (name: keyof typeof payloads) => {
      const one = decision(++n, chain, { event_name: name, to_state: '', payload: JSON.stringify(payloads[name]) })
      chain = nextChain(chain, contentOf(one))
      return one
    }
    let offset = 0
    /** So many events that a snapshot is taken, too. */
    const record = async (events: readonly WorkflowEvent[]) => {
      const filled = [...events, ...Array.from({ length: 20 - events.length }, (_, i) => event({ event_id: id(100 * offset + i) }))]
      await recorder.batch(
        batchOf(
          filled.map((one) => recordOf(one, offset++)),
          offset - filled.length,
        ),
      )
    }
    await record([started()]) // the recorder learns the generation with it
    await record([next('action.scheduled'), next('timer.started')])
    await record([next('action.scheduled'), next('timer.started'), next('wait.started')])
    const counted = await database.admin.query(`SELECT
      (SELECT count(*)::int FROM refold.workflow_events) AS events, (SELECT count(*)::int FROM refold.workflow_snapshots) AS snapshots,
      (SELECT count(*)::int FROM refold.workflow_actions) AS actions, (SELECT count(*)::int FROM refold.workflow_timers) AS timers,
      (SELECT count(*)::int FROM refold.workflow_waits) AS waits`)
    t.strictSame(counted.rows, [{ events: 60, snapshots: 3, actions: 2, timers: 2, waits: 1 }])
  })

  t.test('R8: what is not remembered is taken for new after fifty in a row were; where it is not, it is looked up', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const other = (PARTITION + 1) % PARTITIONS
    /** Executions of a partition. */
    const idsOf = (partition: number, count: number) => {
      const ids: string[] = []
      for (let i = 0; ids.length < count; i++) if (partitionOf(id(i), PARTITIONS) === partition) ids.push(id(i))
      return ids
    }
    const looked: string[] = []
    const recorder = recorderOn(database, undefined, PARTITIONS, (executionId) => looked.push(executionId)) // one execution of each partition
    const ends = new Map([PARTITION, other].map((partition) => [partition, 0]))
    for (const partition of ends.keys()) await recorder.checkpoint(partition)
    let events = 0
    const send = async (partition: number, ...all: Partial<WorkflowEvent>[]) => {
      const from = ends.get(partition) ?? 0
      const key = (one: WorkflowEvent) => new TextEncoder().encode(one.execution_id)
      const made = all.map((changes) => event({ event_id: id(1_000_000 + ++events), ...changes }))
      const records = made.map((one, i) => recordOf(one, from + i, { partition, key: key(one) }))
      ends.set(partition, from + records.length)
      const stored = await recorder.batch({ ...batchOf(records, from), partition })
      t.equal(stored, from + records.length)
    }
    const [mine, others] = [idsOf(PARTITION, 80), idsOf(other, 10)]
    await send(other, { execution_id: others[0] ?? '' })
    for (const executionId of mine.slice(0, 60)) await send(PARTITION, { execution_id: executionId, event_id: executionId })
    const before = looked.length
    t.ok(before >= 49 && before < 60, `${before} were looked up`)
    for (const executionId of mine.slice(60, 70)) await send(PARTITION, { execution_id: executionId })
    t.equal(looked.length, before, 'the new ones were not')
    // The first one is forgotten: the same event again, and one that is new.
    await Promise.all([
      send(PARTITION, { execution_id: mine[0] ?? '', event_id: mine[0] ?? '' }, { execution_id: mine[0] ?? '' }),
      send(other, { execution_id: others[1] ?? '' }, { execution_id: others[2] ?? '' }),
    ])
    const heads = await database.admin.query<{ execution_id: string; seq: string }>('SELECT execution_id, seq FROM refold.execution_heads')
    const seqs = new Map(heads.rows.map((row) => [row.execution_id, row.seq]))
    t.equal(seqs.size, 73)
    t.equal(seqs.get(mine[0] ?? ''), '2')
    t.same([...seqs.values()].filter((seq) => seq !== '1').length, 1)
    const verdicts = await database.admin.query('SELECT verdict, partition, log_offset FROM refold.event_verdicts')
    t.strictSame(verdicts.rows, [{ verdict: 'duplicate', partition: PARTITION, log_offset: '70' }])
    const audit = await database.admin.query<{ count: number }>('SELECT count(*)::int FROM refold.workflow_events')
    t.equal(audit.rows[0]?.count, 74)
    await send(PARTITION, { execution_id: mine[75] ?? '' })
    t.equal(looked.at(-1), mine[75], 'nothing is assumed for now')
  })

  t.test('an execution with a long history is not looked up for each batch; its oldest snapshots go with the statement', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const looked: string[] = []
    const recorder = recorderOn(database, undefined, 1000, (executionId) => looked.push(executionId))
    await recorder.checkpoint(PARTITION)
    let offset = 0
    const record = (...ids: readonly number[]) => {
      const records = ids.map((n) => recordOf(event({ event_id: id(n) }), offset++))
      return recorder.batch(batchOf(records, offset - records.length))
    }
    for (let n = 0; n < 400; n += 25) await record(...Array.from({ length: 25 }, (_, i) => n + i))
    await record(3, 400, 400)
    t.strictSame(looked, [], 'the first batch was a transaction, the others knew')
    const { rows } = await database.admin.query(`SELECT
      (SELECT seq::int FROM refold.execution_heads) AS seq, (SELECT last_seq::int FROM refold.workflow_executions) AS last,
      (SELECT array_agg(verdict || log_offset ORDER BY log_offset) FROM refold.event_verdicts) AS verdicts,
      (SELECT array_agg(seq::int ORDER BY seq) FROM refold.workflow_snapshots) AS snapshots`)
    t.strictSame(rows, [{ seq: 401, last: 401, verdicts: ['duplicate400', 'duplicate402'], snapshots: [320, 340, 360, 380, 400] }])
  })

  t.test('a partition that was lost and given back is stored once, though both its batches wait for one transaction', async (t) => {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database, undefined, 1000)
    const elsewhere = (PARTITION + 1) % PARTITIONS
    await recorder.checkpoint(PARTITION)
    await recorder.checkpoint(elsewhere)
    const records = [1, 2, 3, 4].map((n, offset) => recordOf(event({ event_id: id(n) }), offset))
    const first = recorder.batch({ ...batchOf([], 0, 1), partition: elsewhere })
    const nexts = await Promise.all([first, recorder.batch(batchOf(records.slice(0, 1), 0)), recorder.batch(batchOf(records, 0))])
    t.strictSame(nexts, [1, 1, 1], 'the second is told where it goes on')
    const audit = await database.admin.query('SELECT seq FROM refold.workflow_events')
    t.strictSame(audit.rows, [{ seq: '1' }])
    t.equal(await recorder.batch(batchOf(records.slice(1), 1)), 4)
  })
})
