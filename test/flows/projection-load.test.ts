// A rebuild while events come in and rows are read: no reader notices, whoever is killed, and whoever holds the view open.

import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'projection-app.ts')
const STATES = ['placed', 'paid', 'packed', 'sent']
const JSON_BODY = { 'content-type': 'application/json' }
const EXECUTIONS = 400
/** A reader behind a swap may wait so long, ms. */
const LONGEST_WAIT = 250
/** How long a foreign transaction holds the view open, ms. */
const HELD = Number(process.env['REFOLD_TEST_VIEW_HELD'] ?? 4000)

const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a46-${n.toString(16).padStart(12, '0')}`

type Operation = { state: string; generation: number; comparison: { differing: number } | null }
type Row = { events: string; state: string; amount: number }

t.test('rebuilt under load: kills of projector and API, a view that is held open', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  Object.assign(installation.env, {
    REFOLD_GROUP_SESSION: '1500',
    REFOLD_GROUP_HEARTBEAT: '300',
    REFOLD_OPERATOR_TOKENS: 'token',
    REFOLD_PROJECTOR_BATCH: '100',
  })
  const { admin } = installation.database
  // Readers and writers have an API of their own; the operator's is killed.
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  let operators = await startRefold(t, installation, 'api')
  const project = (code = '1') => startRefold(t, installation, 'projector', { app: APP, env: { PROJECTION_CODE: code } })
  let projector = await project()
  let sent = 0

  const send = async (n: number, state: string) => {
    const event = { execution_id: executionOf(n), event_name: `case.${state}`, to_state: state, payload: { amount: n } }
    const answer = await rest.send([event])
    if (answer.status !== 202) throw new Error(answer.text)
    sent++
  }
  const shown = async () => (await rest.get('/v1/projections/cases')).json() as { liveGeneration: number; lag: number }
  const folded = () =>
    until(
      async () => {
        const { rows } = await admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')
        return Number(rows[0]?.n) === sent && (await shown()).lag === 0
      },
      { within: 60_000, every: 100, what: 'all events to be folded' },
    )
  const ask = async (verb: string) => {
    const answer = await restOf(operators.url, 'token').post(`/v1/projections/cases/${verb}`, '{}', JSON_BODY)
    t.equal(answer.status, 202, `${verb}: ${answer.text}`)
    return (answer.json() as { operation: string }).operation
  }
  const operation = (id: string, state: string) => {
    let last: Operation | undefined
    return until(
      async () => {
        last = (await rest.get(`/v1/operations/${id}`)).json() as Operation
        return last.state === state && last
      },
      { within: 90_000, every: 50, what: () => `${state}, not ${JSON.stringify(last)}` },
    )
  }

  // The first two states of all, then load: the others, one by one, while rows are read.
  for (let n = 0; n < EXECUTIONS; n += 50)
    await Promise.all(Array.from({ length: 50 }, (_, i) => n + i).map(async (one) => [await send(one, 'placed'), await send(one, 'paid')]))
  await folded()

  const over = new AbortController()
  const writing = (async () => {
    for (const state of ['packed', 'sent'])
      for (let n = 0; n < EXECUTIONS && !over.signal.aborted; n++) {
        await send(n, state)
        await pause(10)
      }
  })()
  const wrong: string[] = []
  let reads = 0
  const reading = Array.from({ length: 4 }, async (_, reader) => {
    const last = new Map<number, number>()
    for (let i = reader; !over.signal.aborted; i += 7) {
      const n = i % EXECUTIONS
      const answer = await rest.get(`/v1/projections/cases/rows?execution=${executionOf(n)}`)
      reads++
      const [row] = answer.status === 200 ? (answer.json() as { rows: Row[] }).rows : []
      const events = Number(row?.events)
      if (!row) wrong.push(`${n}: ${answer.status} ${answer.text}`)
      else if (events < (last.get(n) ?? 0)) wrong.push(`${n}: ${events} events after ${last.get(n)}`)
      else if (row.amount !== events * n || row.state !== STATES[events - 1]) wrong.push(`${n}: half a row, ${JSON.stringify(row)}`)
      last.set(n, events)
    }
  })
  /** The longest that any read was seen waiting for a lock, ms. */
  let waited = 0
  const watching = (async () => {
    while (!over.signal.aborted) {
      const { rows } = await admin.query<{ ms: number | null }>(
        `SELECT max(extract(epoch FROM clock_timestamp() - query_start) * 1000)::float8 AS ms FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND application_name = 'refold-api' AND datname = current_database()`,
      )
      waited = Math.max(waited, rows[0]?.ms ?? 0)
      await pause(10)
    }
  })()

  const id = await ask('rebuild')
  await operators.kill() // whoever asked may go
  await projector.kill()
  projector = await project()
  operators = await startRefold(t, installation, 'api')
  const ready = await operation(id, 'ready')
  t.equal(ready.comparison?.differing, 0, 'of unchanged code nothing differs')

  const holder = await admin.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT count(*) FROM projections.cases')
  const held = performance.now()
  await ask('promote')
  await operation(id, 'promoting')
  await projector.kill()
  projector = await project()
  await until(() => performance.now() - held > HELD, { within: HELD + 5000 })
  t.match(await shown(), { liveGeneration: 1 }, 'not promoted while the view is held open')
  await holder.query('COMMIT')
  holder.release()
  await operation(id, 'done')
  t.match(await shown(), { liveGeneration: 2 })
  const back = await ask('rollback')
  await operation(back, 'done')
  t.match(await shown(), { liveGeneration: 1 })

  await writing
  over.abort()
  await Promise.all([...reading, watching])
  t.strictSame(wrong.slice(0, 5), [], `${reads} reads`)
  t.ok(reads > 100)
  t.ok(waited < LONGEST_WAIT, `no read waited longer than ${Math.round(waited)} ms for a lock`)
  await folded()
  const { rows } = await admin.query<{ rows: string; events: string }>(
    'SELECT count(*) AS rows, sum(events) AS events FROM projections.cases',
  )
  t.match(rows[0], { rows: String(EXECUTIONS), events: String(EXECUTIONS * STATES.length) })

  await t.test('of a changed fold, exactly the rows that it changes differ', async (t) => {
    await projector.stop()
    // It counts `paid` twice; half of the others have no such event.
    for (let n = EXECUTIONS; n < EXECUTIONS + 20; n++) await send(n, 'placed')
    const changed = await startRefold(t, installation, 'projector', { app: APP, env: { PROJECTION_CODE: 'changed' } })
    await folded()
    const again = await ask('rebuild')
    const compared = await operation(again, 'ready')
    t.equal(compared.comparison?.differing, EXECUTIONS)
    await ask('abort')
    await operation(again, 'aborted')
    await changed.stop()
  })
})
