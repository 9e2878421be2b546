// Many processes: work spreads, a dead runtime is taken over, two versions run side by side, a frozen worker counts once.

import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { useFlows } from '../support/flows.ts'
import { until } from '../support/wait.ts'

t.setTimeout(600_000)

const SESSION = 3000

t.test('two runtimes and four workers share the work, and take over from the dead', { timeout: 300_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended } = flows
  const { admin } = installation.database
  const runtimes = await Promise.all([flows.process('runtime'), flows.process('runtime')])
  const workers = await Promise.all(Array.from({ length: 4 }, () => flows.process('worker')))

  const wide = await start('fan', { width: 100, ms: 20 })
  t.match(await ended(wide), { status: 'completed', result: 100 })
  const { rows } = await admin.query<{ pid: number; n: string }>('SELECT pid, count(*) AS n FROM ledger WHERE execution = $1 GROUP BY 1', [
    wide,
  ])
  t.equal(rows.length, 4, 'all four workers ran some')
  for (const { pid, n } of rows) t.ok(Number(n) >= 10, `worker ${pid} ran ${n} of 100`)

  // One after another, on all partitions: whichever runtime dies, it had some of them.
  const many = await Promise.all(Array.from({ length: 24 }, () => start('fan', { width: 3, ms: 1000 })))
  await until(async () => Number((await admin.query('SELECT count(*) AS n FROM ledger')).rows[0].n) > 110, { what: 'some to run' })
  const { rows: owned } = await until(
    async () => {
      const found = await admin.query<{ partitions: number[] }>(
        "SELECT partitions FROM refold.processes WHERE role = 'runtime' AND id LIKE $1 AND partitions <> '{}'",
        [`%-${runtimes[0].child.pid}-%`],
      )
      return found.rows.length === 1 && found
    },
    { what: 'the partitions of the one that dies to be known' },
  )
  await runtimes[0].kill()
  const [killed, killedAt] = [performance.now(), Date.now()]
  // What the dead one had sent is in the log by now, or within a moment: after that, a decision in its partitions is another's.
  const taken = async () => {
    const first = await admin.query<{ execution_id: string; at: number }>(
      `SELECT execution_id, min(extract(epoch FROM appended_at) * 1000)::float8 AS at FROM refold.workflow_events
       WHERE partition = ANY ($1) AND decision > 0 AND appended_at > to_timestamp($2::float8 / 1000) GROUP BY 1 ORDER BY 2`,
      [owned[0]?.partitions, killedAt + 200],
    )
    return first.rows.length > 0 && first.rows
  }
  const takeover = (await until(taken, { within: 60_000, every: 100, what: 'another to decide for an execution of the dead one' }))[0]
  const after = Math.round((takeover?.at ?? Infinity) - killedAt)
  t.ok(many.includes(takeover?.execution_id ?? ''), 'it is one of those that ran')
  t.ok(after < SESSION + 5000, `taken over ${after} ms after the kill: within the session timeout and 5 s`)
  for (const id of many) t.match(await ended(id, SESSION + 15_000), { status: 'completed', result: 3 })
  t.comment(`all ended ${Math.round(performance.now() - killed)} ms after a runtime was killed`)
  t.ok(performance.now() - killed < SESSION + 5000 + 4000, 'within the session timeout and 5 s, and the work that was left (4 s)')

  // A worker frozen past its lock and its session: another runs the attempt, and one outcome counts.
  const frozen = await start('fan', { width: 8, ms: 2500 })
  const running = await until(
    async () => (await admin.query<{ pid: number }>('SELECT pid FROM ledger WHERE execution = $1', [frozen])).rows[0],
    { what: 'an attempt to run' },
  )
  const victim = workers.find(({ child }) => child.pid === running.pid)
  victim?.child.kill('SIGSTOP')
  t.match(await ended(frozen, 60_000), { status: 'completed', result: 8 })
  victim?.child.kill('SIGCONT')
  const { rows: twice } = await admin.query<{ action: number }>(
    'SELECT action FROM ledger WHERE execution = $1 GROUP BY 1 HAVING count(*) > 1',
    [frozen],
  )
  t.ok(twice.length > 0, 'what the frozen one had was run again')
  // The frozen one wakes and reports: its outcomes are duplicates, or the execution had ended by then.
  await until(
    async () =>
      (await admin.query("SELECT FROM refold.event_verdicts WHERE execution_id = $1 AND event_name LIKE 'action.%'", [frozen])).rows
        .length > 0,
    { what: 'the late outcome to be judged' },
  )
  const { rows: counted } = await admin.query<{ n: string }>(
    "SELECT count(*) AS n FROM refold.workflow_events WHERE execution_id = $1 AND event_name = 'action.completed'",
    [frozen],
  )
  t.equal(Number(counted[0]?.n), 8, 'one outcome an action')

  for (const one of [runtimes[1], ...workers]) {
    const began = performance.now()
    t.equal(await one.stop(), 0, 'told to stop, it ends well')
    t.ok(performance.now() - began < 10_000, 'within 10 s')
  }
})

t.test('an old and a new version run side by side, and each keeps its executions', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, signal, ended, diagnosed } = flows
  const old = await flows.process('runtime,worker', { REFOLD_DEPLOYMENT: 'old' })
  const first = await Promise.all(Array.from({ length: 6 }, () => start('versioned')))
  // Nobody registers version 2 yet: that is said, and nothing is lost.
  const early = await start('versioned', null, '2')
  t.match((await diagnosed(early, 'no-runtime')).summary, /versioned version 2/)
  await flows.process('runtime,worker', { REFOLD_DEPLOYMENT: 'new', FLOW_CODE: '2' })
  const second = await Promise.all(Array.from({ length: 6 }, () => start('versioned', null, '2')))
  for (const id of [...first, ...second, early]) await signal(id, 'go')
  for (const id of first) t.match(await ended(id), { status: 'completed', result: 'by version 1' })
  for (const id of [...second, early]) t.match(await ended(id), { status: 'completed', result: 'by version 2' })
  const open = async () => ((await flows.rest.get('/v1/incidents')).json() as { incidents: object[] }).incidents
  await until(async () => (await open()).length === 0, { what: 'the incident to be closed' })
  t.equal(await old.stop(), 0)
})

t.test('a request that is gone from its topic is made again', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended, diagnosed } = flows
  const { admin } = installation.database
  // The topic is made by a worker; then none runs.
  const worker = await flows.process('worker')
  t.equal(await worker.stop(), 0)
  await flows.process('runtime', { REFOLD_SWEEP_AFTER: '60000' })
  const id = await start('fan', { width: 3, ms: 0 })
  await diagnosed(id, 'no-worker')
  const kafka = new Kafka({
    brokers: String(installation.env['KAFKA_BROKERS']).split(','),
    clientId: 'test',
    logLevel: logLevel.NOTHING,
  }).admin()
  await kafka.connect()
  t.teardown(() => kafka.disconnect())
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.actions`
  const ends = await kafka.fetchTopicOffsets(topic)
  t.equal(
    ends.reduce((sum, { high }) => sum + Number(high), 0),
    3,
  )
  await kafka.deleteTopicRecords({ topic, partitions: ends.map(({ partition, high }) => ({ partition, offset: high })) })
  await admin.query("UPDATE refold_derived_g1.workflow_actions SET requested_at = now() - interval '2 minutes'")
  await flows.process('worker')
  t.match(await ended(id, 30_000), { status: 'completed', result: 3 })
})

t.test('what a process schedules for a queue that it does not serve is left to those that do', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended } = flows
  const other = await flows.process('runtime,worker', { REFOLD_WORKER_QUEUES: 'other' })
  const id = await start('fan', { width: 3, ms: 0 })
  const worker = await flows.process('worker')
  t.match(await ended(id), { status: 'completed', result: 3 })
  const { rows } = await installation.database.admin.query('SELECT DISTINCT pid FROM ledger WHERE execution = $1', [id])
  t.strictSame(rows, [{ pid: worker.child.pid }])
  t.not(worker.child.pid, other.child.pid)
})

t.test('an outcome whose worker died before Redis heard of it is neither made nor reported again', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended } = flows
  const { admin } = installation.database
  await flows.process('runtime')
  const dying = await flows.process('worker', { REFOLD_FAULTS: 'worker:outcome:appended=kill@2' })
  const id = await start('fan', { width: 2, ms: 500 })
  t.match(await ended(id), { status: 'completed', result: 2 }, 'both outcomes are in the log')
  await until(() => dying.child.signalCode === 'SIGKILL', { what: 'the worker to die' })
  const workedOff = async () =>
    Number((await admin.query("SELECT sum(next_offset) AS n FROM refold.checkpoints WHERE reader LIKE 'worker.%'")).rows[0].n)
  t.ok((await workedOff()) < 2, 'the queue is not worked off')
  await flows.process('worker')
  await until(async () => (await workedOff()) === 2, { within: 30_000, what: 'the queue to be worked off' })
  t.strictSame((await admin.query('SELECT count(*)::int AS n FROM ledger')).rows, [{ n: 2 }], 'each ran once')
  t.strictSame((await admin.query('SELECT event_name FROM refold.event_verdicts')).rows, [], 'and has one outcome')
})

t.test('what an action told last is what the next worker finds, when the one that ran it is killed', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended } = flows
  await flows.process('runtime')
  const dying = await flows.process('worker')
  const id = await start('relayed')
  const told = async () =>
    (await installation.database.admin.query<{ progress: string }>('SELECT progress::text FROM refold.action_progress')).rows[0]?.progress
  let last: string | undefined
  await until(async () => (last = await told()) === '{"done":3}', { what: () => `what was told last to be kept, not ${last}` })
  await dying.kill()
  const other = await flows.process('worker')
  t.match(await ended(id, 60_000), { status: 'completed', result: { from: 3, attempt: 1, pid: other.child.pid } })
})
