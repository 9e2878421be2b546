// The recorder's derived tables, rebuilt while it records: processes die at each point, readers see nothing of it, and what is
// live at the end is what the audit folds to. Asked for over REST, and with Kafka's own offsets.

import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { FAULT_POINTS } from '../../faults.ts'
import { FLOW_APP } from '../support/flows.ts'
import { LEDGER } from '../support/random-app.ts'
import { dyingRefold, type RefoldProcess, startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const JSON_BODY = { 'content-type': 'application/json' }
const EXECUTIONS = 200
const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a4a-${n.toString(16).padStart(12, '0')}`

const COUNTS = `SELECT (SELECT count(*) FROM refold.workflow_events) AS events, (SELECT count(*) FROM refold.event_verdicts) AS refused`

type Shown = { liveGeneration: number; operation: string | null }
type Operation = { state: string; kind: string; reason: string; comparison: { differing: number; partitions: object[] } | null }

t.test('rebuilt under load, with deaths, without anybody noticing', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { admin } = installation.database
  Object.assign(installation.env, {
    REFOLD_GROUP_SESSION: '1500',
    REFOLD_GROUP_HEARTBEAT: '300',
    REFOLD_OPERATOR_TOKENS: 'token',
    REFOLD_TEST_LEDGER: installation.database.url,
  })
  await admin.query(LEDGER)
  const { url } = await startRefold(t, installation, 'api')
  let recorder: RefoldProcess = await startRefold(t, installation, 'recorder')
  const runtime = await startRefold(t, installation, 'runtime,worker', { app: FLOW_APP })
  const rest = restOf(url, 'token')
  const ask = async (verb: string) => {
    const answer = await rest.post(`/v1/projections/derived/${verb}`, '{}', JSON_BODY)
    t.equal(answer.status, 202, `${verb}: ${answer.text}`)
    return (answer.json() as { operation: string }).operation
  }
  const operation = async (id: string, state: string) =>
    until(
      async () => {
        const one = (await rest.get(`/v1/operations/${id}`)).json() as Operation
        return one.state === state && one
      },
      { within: 60_000, every: 50, what: `operation ${id} to be ${state}` },
    )
  const show = async () => (await rest.get('/v1/projections/derived')).json() as Shown
  const live = async () => (await show()).liveGeneration
  const rebuilt = async (what: string) => {
    const id = await ask('rebuild')
    const { comparison } = await operation(id, 'ready')
    t.equal(comparison?.differing, 0, `${what}: ${JSON.stringify(comparison)}`)
    t.equal(comparison?.partitions.length, 12)
    return id
  }

  const load = new AbortController()
  let sent = 0
  const writer = (async () => {
    for (let n = 0; !load.signal.aborted; n++) {
      const events = Array.from({ length: 10 }, (_, i) => {
        const execution = (n * 10 + i) % EXECUTIONS
        return { execution_id: executionOf(execution), event_name: 'case.moved', to_state: `s${n}`, payload: { [`k${n % 5}`]: n } }
      })
      const answer = await rest.send(events)
      if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
      sent += events.length
      if (n % 10 === 0)
        for (const [workflow, input] of Object.entries({ fan: { width: 3, ms: 1 }, waiting: { ms: 600_000 }, sleeping: { ms: 500 } }))
          await rest.post('/v1/executions', JSON.stringify({ workflow, version: '1', input }), JSON_BODY)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  const wrong: string[] = []
  let reads = 0
  let slowest = 0
  const reader = (async () => {
    const seen = new Map<number, number>()
    for (let n = 0; !load.signal.aborted; n = (n + 7) % EXECUTIONS) {
      const began = performance.now()
      const answer = await rest.get(`/v1/executions/${executionOf(n)}`)
      slowest = Math.max(slowest, performance.now() - began)
      reads++
      const before = seen.get(n) ?? 0
      if (answer.status === 404 && before === 0) continue
      const { lastSeq } = answer.json() as { lastSeq: number }
      if (answer.status !== 200 || lastSeq < before) wrong.push(`${answer.status} seq ${lastSeq} after ${before}`)
      seen.set(n, lastSeq)
    }
  })()
  await until(() => sent > 500, { what: 'some events' })

  // The recorder dies at each point of following, in the middle of a rebuild.
  const first = await ask('rebuild')
  for (const point of FAULT_POINTS.filter((one) => one.startsWith('derived:'))) {
    await recorder.stop()
    await dyingRefold(t, installation, 'recorder', `${point}=kill@5`)
  }
  recorder = await startRefold(t, installation, 'recorder')
  t.match((await operation(first, 'ready')).comparison, { differing: 0 })
  const other = await startRefold(t, installation, 'recorder')

  /** The longest time for which nothing was recorded meanwhile, ms. */
  async function longestStop(work: () => Promise<unknown>): Promise<number> {
    const over = new AbortController()
    const watching = (async () => {
      let longest = 0
      for (let last = '', since = performance.now(); !over.signal.aborted;) {
        const { rows } = await admin.query<{ sum: string }>("SELECT sum(next_offset) FROM refold.checkpoints WHERE reader = 'recorder'")
        const now = rows[0]?.sum ?? ''
        if (now !== last) since = performance.now()
        longest = Math.max(longest, performance.now() - since)
        last = now
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      return longest
    })()
    await work()
    over.abort()
    return watching
  }
  const promotion = await longestStop(async () => {
    await ask('promote')
    await operation(first, 'done')
  })
  t.equal(await live(), 2)
  t.ok(promotion < 1000, `nothing was recorded for ${Math.round(promotion)} ms around the promotion`)
  t.comment(`promotion: nothing was recorded for ${Math.round(promotion)} ms`)

  await operation(await ask('rollback'), 'done')
  t.equal(await live(), 1)
  const second = await rebuilt('what was followed and is live again')
  await ask('promote')
  await operation(second, 'done')
  t.equal(await live(), 3)
  const third = await rebuilt('what the recorder wrote since')
  await ask('abort')
  await operation(third, 'aborted')

  load.abort()
  await Promise.all([writer, reader])
  t.strictSame(wrong, [])
  t.comment(`${sent} events, ${reads} reads, the slowest ${Math.round(slowest)} ms`)

  // Kafka's own tool sets the group's offsets while no recorder runs: below the checkpoint, a reset; nothing is judged again.
  await runtime.stop()
  const counted = async () => JSON.stringify((await admin.query(COUNTS)).rows)
  let before = ''
  const isQuiet = async () => before === (before = await counted())
  await until(isQuiet, { within: 60_000, every: 1000, what: 'all to be recorded' })
  await Promise.all([recorder.stop(), other.stop()])
  const kafka = new Kafka({ brokers: stack.kafkaBrokers, clientId: 'person', logLevel: logLevel.NOTHING }).admin()
  await kafka.connect()
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  await kafka.setOffsets({ groupId: `${prefix}.recorder`, topic: `${prefix}.events`, partitions: [{ partition: 3, offset: '0' }] })
  await kafka.disconnect()
  await startRefold(t, installation, 'recorder')
  await until(async () => (await show()).liveGeneration === 5 && (await show()).operation === null, { within: 60_000, what: 'a reset' })
  const { operations } = (await rest.get('/v1/operations?limit=1')).json() as { operations: Operation[] }
  t.match(operations, [
    { kind: 'reset', state: 'done', reason: /recorder was reset to p3:0 by Kafka's tool/, comparison: { differing: 0 } },
  ])
  t.equal(await counted(), before, 'nothing was judged again')
})
