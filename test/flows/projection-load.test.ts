// A rebuild while events come in and rows are read: no reader notices, whoever is killed, and whoever holds the view open. At
// 1,000 events and 200 reads a second: npm run soak -- --only rebuild.

import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { caseEvent, type Load, ReadLog, readOverRest, watchLocks } from '../support/rebuild-load.ts'
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

const LOAD: Load = { executions: EXECUTIONS, stateOf: (_, events) => STATES[events - 1] ?? '' }

type Operation = { state: string; generation: number; comparison: { differing: number } | null }

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
    const answer = await rest.send([caseEvent(LOAD, n, STATES.indexOf(state) + 1)])
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
  const log = new ReadLog()
  const reading = readOverRest(LOAD, { rest, readers: 4, log }, over.signal)
  let waited = 0
  const watching = watchLocks(admin, over.signal, (ms) => (waited = Math.max(waited, ms)))

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
  await Promise.all([reading, watching])
  t.strictSame(log.wrong.slice(0, 5), [], `${log.reads} reads`)
  t.ok(log.reads > 100)
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
