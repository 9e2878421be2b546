// How attempts end on real servers, other than by their function: timeout, key, a worker that is killed, a worker that is told to stop.

import path from 'node:path'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import t, { type Test } from 'tap'
import { useFlows } from '../support/flows.ts'
import { startRefold } from '../support/refold-process.ts'
import { until } from '../support/wait.ts'

const APP = path.join(import.meta.dirname, '..', 'support', 'attempt-app.ts')

const SECRET = 'k3y "of" the/bank'

t.setTimeout(300_000)

/** Keys and values of all topics with this prefix, as text. */
async function allRecords(t: Test, kafka: Kafka, prefix: string): Promise<string[]> {
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const left = new Map<string, number>()
  const topics = (await admin.listTopics()).filter((name) => name.startsWith(prefix))
  for (const topic of topics)
    for (const { partition, high, low } of await admin.fetchTopicOffsets(topic))
      if (Number(high) > Number(low)) left.set(`${topic}/${partition}`, Number(high))
  const consumer = kafka.consumer({ groupId: `${prefix}all-records` })
  await consumer.connect()
  t.teardown(() => consumer.disconnect())
  await consumer.subscribe({ topics, fromBeginning: true })
  const texts: string[] = []
  await consumer.run({
    eachBatch: async ({ batch }) => {
      for (const { key, value } of batch.messages) texts.push(`${String(key)} ${String(value)}`)
      const name = `${batch.topic}/${batch.partition}`
      if (Number(batch.lastOffset()) + 1 >= (left.get(name) ?? 0)) left.delete(name)
    },
  })
  await until(() => left.size === 0, { what: () => `${[...left.keys()].join()} to be read` })
  return texts
}

t.test('attempts', { timeout: 240_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, ended } = flows
  const { admin } = installation.database
  const start = (action: string, parameters: object = {}, key?: string) => flows.start('one', { action, parameters, key })
  const result = async (id: string, within?: number) => (await ended(id, within)).result
  /** What happened, in which attempts. */
  const ledger = async (id: string) =>
    (
      await admin.query<{ what: string; attempt: number }>(
        'SELECT guarantee AS what, attempt FROM ledger WHERE execution = $1 ORDER BY attempt, guarantee',
        [id],
      )
    ).rows.map(({ what, attempt }) => `${what} ${attempt}`)
  const begun = (...ids: string[]) =>
    until(async () => (await Promise.all(ids.map(ledger))).every((one) => one.includes('begun 1')), { what: `${ids.join()} to begin` })
  const worker = (env = {}) => startRefold(t, installation, 'worker', { app: APP, env: { REFOLD_SECRET_SPILT: SECRET, ...env } })
  await startRefold(t, installation, 'runtime', { app: APP })
  const first = await worker()

  t.test('one that takes longer than its timeout hears so, has failed, and is tried again by the policy', async (t) => {
    const [once, twice] = await Promise.all([start('deaf', { times: 1 }), start('deaf', { times: 2 })])
    t.strictSame(await result(once), { result: 2 })
    t.strictSame(await ledger(once), ['aborted 1', 'begun 1', 'begun 2'])
    t.strictSame(await result(twice), { errorName: 'TimedOut', code: null, attempts: 2 })
    t.strictSame(await ledger(twice), ['aborted 1', 'begun 1', 'aborted 2', 'begun 2'])
  })

  t.test('of an exactly-once action also while its SQL runs', async (t) => {
    t.strictSame(await result(await start('brief')), { result: 2 })
  })

  t.test('equal keys: one effect for equal parameters, for a day; other parameters fail, once', async (t) => {
    const id = await start('charge', { cents: 5 }, 'order-1')
    const paid = { result: `${id} paid 5` }
    t.strictSame(await result(id), paid)
    const again = await start('charge', { cents: 5 }, 'order-1')
    t.strictSame(await result(again), paid, 'the first one’s result')
    t.strictSame(await ledger(again), [], 'and it is not run')
    const other = await start('charge', { cents: 6 }, 'order-1')
    t.strictSame(await result(other), { errorName: 'KeyReused', code: 'key-reused', attempts: 1 })
    t.strictSame(await ledger(other), [])
    const redis = new Redis(String(installation.env['REDIS_URL']))
    t.teardown(() => redis.disconnect())
    const left = await redis.pttl(`${installation.env['REFOLD_TOPIC_PREFIX']}:result:${JSON.stringify(['tenant', 'charge', 'order-1'])}`)
    t.ok(left > 86_400_000 - 120_000 && left <= 86_400_000, `it is kept for ${left} ms more`)
  })

  t.test('secrets: one that is not there is named; one that is there is in no record, whatever the action throws', async (t) => {
    t.match(await ended(await start('spill', { secret: 'lost' })), { error: { message: /no secret lost: set REFOLD_SECRET_LOST/ } })
    t.match(await ended(await start('spill', { secret: 'spilt' })), { error: { message: /GET .*\[secret\] is not known/ } })
    const kafka = new Kafka({ brokers: String(installation.env['KAFKA_BROKERS']).split(','), logLevel: logLevel.NOTHING })
    const prefix = `${installation.env['REFOLD_TOPIC_PREFIX']}.`
    const texts = await allRecords(t, kafka, prefix)
    const forms = [SECRET, encodeURIComponent(SECRET), JSON.stringify(SECRET).slice(1, -1)]
    const holding = (what: string) => texts.filter((text) => text.includes(what)).length
    t.ok(holding('[secret]') >= 3, 'two attempts and the end of the execution speak of it')
    // In a payload, JSON is once more in a string.
    for (const form of [...forms, ...forms.map((one) => JSON.stringify(one).slice(1, -1))]) t.equal(holding(form), 0, form)
    const { rows } = await admin.query<{ progress: string }>('SELECT progress FROM refold.action_progress WHERE progress IS NOT NULL')
    t.strictSame(rows, [{ progress: '{"asked":"/?key=[secret]"}' }])
  })

  t.test('at-most-once: killed in the middle, it ends as unknown, and nobody runs it again', async (t) => {
    const id = await start('letter')
    await begun(id)
    await first.kill()
    const second = await worker()
    t.strictSame(await result(id, 90_000), { errorName: 'OutcomeUnknown', code: 'unknown', attempts: 1 })
    t.strictSame(await ledger(id), ['begun 1'])
    t.equal(await second.stop(), 0)
  })

  t.test('frozen past its claim or in its transaction, and awake again: what it tells late does not count', async (t) => {
    const frozen = await worker()
    const [letter, booking] = await Promise.all([start('letter', { ms: 3000 }), start('booking', { ms: 3000 })])
    await begun(letter, booking)
    frozen.child.kill('SIGSTOP')
    // As if so much time had passed: it renews nothing.
    await admin.query('UPDATE refold.action_claims SET expires_at = now() WHERE execution_id = $1', [letter])
    const other = await worker()
    t.strictSame(await result(letter, 60_000), { errorName: 'OutcomeUnknown', code: 'unknown', attempts: 1 })
    t.strictSame(await result(booking, 60_000), { result: other.child.pid })
    frozen.child.kill('SIGCONT')
    const late = async (id: string) =>
      (
        await admin.query<{ verdict: string }>(
          "SELECT verdict FROM refold.event_verdicts WHERE execution_id = $1 AND event_name LIKE 'action.%'",
          [id],
        )
      ).rows.map(({ verdict }) => verdict)
    for (const id of [letter, booking])
      await until(async () => (await late(id)).length > 0, { within: 30_000, what: `the late outcome of ${id} to be judged` })
    t.strictSame(await ledger(letter), ['begun 1'], 'at-most-once: nobody ran it again')
    const { rows } = await admin.query("SELECT pid FROM ledger WHERE execution = $1 AND guarantee = 'booked'", [booking])
    t.strictSame(rows, [{ pid: other.child.pid }], 'exactly-once: what the frozen one wrote is undone')
    t.strictSame(await ledger(booking), ['begun 1', 'begun 1', 'booked 1'])
    const counted = await admin.query<{ name: string; n: number }>(
      `SELECT event_name AS name, count(*)::int AS n FROM refold.workflow_events
       WHERE execution_id = ANY ($1) AND event_name IN ('action.completed', 'action.attemptFailed') GROUP BY 1 ORDER BY 1`,
      [[letter, booking]],
    )
    t.strictSame(counted.rows, [
      { name: 'action.attemptFailed', n: 1 },
      { name: 'action.completed', n: 1 },
    ])
    for (const one of [frozen, other]) t.equal(await one.stop(), 0)
  })

  t.test('a worker that is told to stop ends and tells what is short, and hands back what is long', async (t) => {
    const stopped = await worker()
    const short = await Promise.all([1500, 2500, 3500].map((ms) => start('work', { ms })))
    const long = await Promise.all([start('work', { ms: 600_000 }), start('query'), start('query')])
    await begun(...short, ...long)
    const told = performance.now()
    t.equal(await stopped.stop(), 0)
    t.ok(performance.now() - told < 10_000, `it ended within ${Math.round(performance.now() - told)} ms`)
    const { rowCount } = await admin.query(`
      SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%pg_sleep%'`)
    t.equal(rowCount, 0, 'no statement of it runs any more')
    for (const id of short) t.strictSame(await result(id), { result: stopped.child.pid })
    const other = await worker({ ATTEMPTS: 'quick' })
    for (const id of long) {
      t.strictSame(await result(id), { result: other.child.pid })
      t.strictSame(await ledger(id), ['begun 1', 'begun 1'], 'the same attempt')
    }
    for (const id of short) t.strictSame(await ledger(id), ['begun 1'], 'what was told is not run again')
  })
})
