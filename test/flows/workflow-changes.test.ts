// Code that no longer fits, waits and timers over restarts, and each cause of a diagnosis, planted and named.

import t from 'tap'
import path from 'node:path'
import { replayHistory } from '../../testing/replay-history.ts'
import flowApp from '../support/flow-app.ts'
import { type Diagnosis, FLOW_APP, type Flows, useFlows } from '../support/flows.ts'
import { restOf } from '../support/rest.ts'
import { until } from '../support/wait.ts'

t.setTimeout(600_000)

const SHIPPED_APP = path.join(import.meta.dirname, '..', 'support', 'shipped-app.ts')

/** REFOLD_GROUP_SESSION of these flows, ms. */
const SESSION = 3000

function workflowOf(name: string) {
  const found = flowApp.workflows.find((one) => one.name === name)
  if (!found) throw new Error(`flow-app.ts has no workflow ${name}`)
  return found
}

const eventsOf = async ({ rest }: Flows, id: string) =>
  ((await rest.get(`/v1/executions/${id}/events?limit=1000`)).json() as { events: { event_name: string; decision: number }[] }).events

t.test(
  'code that does not fit a history stops that execution only, and fitting code goes on by itself',
  { timeout: 180_000 },
  async (t) => {
    const flows = await useFlows(t, { REFOLD_API_TOKENS: 'token=tenant,token-b=tenant-b' })
    if (!flows) return
    const { start, signal, ended, diagnosed } = flows
    const first = await flows.process('runtime,worker')
    const id = await start('changing')
    await diagnosed(id, 'waiting-for-event')
    const neighbour = restOf(flows.rest.base, 'token-b')
    const body = JSON.stringify({ workflow: 'changing', version: '1' })
    const begun = await neighbour.post('/v1/executions', body, { 'content-type': 'application/json' })
    const { executionId: theirs } = begun.json() as { executionId: string }
    const waits = async () =>
      ((await neighbour.get(`/v1/executions/${theirs}/diagnosis`)).json() as Diagnosis).cause === 'waiting-for-event'
    await until(waits, { within: 30_000, every: 100, what: "the other tenant's to wait" })
    t.equal(await first.stop(), 0)

    const checked = await flows.checkDeploy(FLOW_APP, { FLOW_CODE: 'b' })
    t.equal(checked.code, 3)
    t.match(checked.stdout, /changing 1 .* 1 .*1 would not go on/s)
    const told = await flows.checkDeploy(FLOW_APP, { FLOW_CODE: 'b' }, '--json')
    t.equal(told.code, 3)
    t.match(JSON.parse(told.stdout), {
      checked: 1,
      allTenants: false,
      tenants: ['tenant'],
      misfits: [{ tenant: 'tenant', executionId: id, workflow: 'changing', version: '1', step: 1, why: /expected/ }],
    })
    t.match(await flows.checkDeploy(FLOW_APP), {
      code: 0,
      stdout: /^1 open execution of tenant tenant checked against \d+ workflows; 0 would not/,
    })
    const lacking = await flows.checkDeploy(SHIPPED_APP)
    t.match(lacking, { code: 3, stdout: /does not register the workflow/ }, 'an application that dropped it')
    t.match(await flows.checkDeploy(SHIPPED_APP, {}, '--ignore-others'), {
      code: 0,
      stdout: /0 open executions of tenant tenant checked against 0 workflows;.*--all-tenants/s,
    })
    const all = await flows.checkDeploy(FLOW_APP, { FLOW_CODE: 'b' }, '--json', '--all-tenants')
    t.equal(all.code, 3)
    t.match(JSON.parse(all.stdout), {
      checked: 2,
      allTenants: true,
      tenants: ['tenant', 'tenant-b'],
      misfits: [
        { tenant: 'tenant', executionId: id, step: 1 },
        { tenant: 'tenant-b', executionId: theirs, step: 1 },
      ],
    })
    t.match(await flows.checkDeploy(FLOW_APP, { REFOLD_API_URL: 'http://127.0.0.1:9' }, '--all-tenants'), {
      code: 0,
      stdout: /^2 open executions of all tenants \(tenant, tenant-b\) checked against \d+ workflows; 0 would not go on\.\n$/,
    })
    const noDatabase = await flows.checkDeploy(FLOW_APP, { DATABASE_URL: 'postgres://nobody@127.0.0.1:9/none' }, '--all-tenants')
    t.match(noDatabase, { code: 1, stderr: /database/ })
    const away = await flows.checkDeploy(FLOW_APP, { REFOLD_API_URL: 'http://127.0.0.1:9' })
    t.match(away, { code: 1, stderr: /does not answer/ }, 'nothing was checked: told apart')

    const other = await flows.process('runtime,worker', { FLOW_CODE: 'b' })
    const before = (await eventsOf(flows, id)).length
    await signal(id, 'go', 'went')
    const stopped = await diagnosed(id, 'diverged')
    t.match(stopped.evidence, { divergence: { step: 1, expected: /action.scheduled/, got: /workflow.stateChanged/ } })
    const next = await start('changing')
    await signal(next, 'go', 'another')
    t.match(await ended(next), { status: 'completed', result: 'another' }, 'others go on')
    const now = await eventsOf(flows, id)
    t.strictSame(
      now.slice(before).map(({ event_name: name }) => name),
      ['go'],
      'nothing was written for it',
    )
    t.equal(await other.stop(), 0)

    await flows.process('runtime,worker')
    t.match(await ended(id), { status: 'completed', result: 'went' }, 'the fitting code goes on by itself')
    const open = async () => ((await flows.rest.get('/v1/incidents')).json() as { incidents: object[] }).incidents
    await until(async () => (await open()).length === 0, { what: 'the incident to be closed' })
  },
)

t.test('waits and timers hold over restarts', { timeout: 240_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, signal, ended, ask, show } = flows
  // Sent before the wait is declared: no runtime runs yet.
  const early = await start('waiting', { ms: 60_000 })
  await signal(early, 'go', 1)
  const first = await flows.process('runtime,worker')
  t.match(await ended(early), { result: { came: 1 } }, 'an event sent before its wait is found')
  // Some are due while no runtime runs, whenever it is back; a hundred after that.
  const waits = await Promise.all([
    ...Array.from({ length: 100 }, (_, n) => start('waiting', { ms: 1000 + 100 * n })),
    ...Array.from({ length: 100 }, (_, n) => start('waiting', { ms: 20_000 + 20 * n })),
  ])
  const timeouts = async () => {
    const { rows } = await flows.installation.database.admin.query<{ due: number; fired: number | null }>(
      `SELECT (extract(epoch FROM fire_at) * 1000)::float8 AS due, (extract(epoch FROM ended_at) * 1000)::float8 AS fired
       FROM refold.workflow_timers WHERE purpose = 'timeout' AND execution_id = ANY ($1)`,
      [waits],
    )
    return rows
  }
  await until(async () => (await timeouts()).length === waits.length, { what: 'all waits to be recorded' })
  await first.kill()
  const killed = Date.now()
  const second = await flows.process('runtime,worker')
  const running = Date.now()
  const fired = (await until(
    async () => {
      const rows = await timeouts()
      return rows.every(({ fired }) => fired !== null) && rows
    },
    { within: 60_000, every: 200, what: 'every timeout to fire' },
  )) as { due: number; fired: number }[]
  t.ok(
    fired.every((one) => one.fired >= one.due),
    'none early',
  )
  // It is back when it fires the first of those that fell due meanwhile.
  const meanwhile = fired.filter((one) => one.due > killed && one.fired > killed)
  const back = Math.min(...meanwhile.map((one) => one.fired))
  t.ok(back - running < SESSION + 5000, `back ${Math.round(back - running)} ms after it runs: the session of the dead one, and 5 s`)
  const missed = meanwhile.filter(({ due }) => due <= back).map((one) => one.fired - back)
  t.ok(missed.length >= 5, `${missed.length} fell due while it was away`)
  t.ok(Math.max(...missed) < 1000, `and have fired ${Math.round(Math.max(...missed))} ms after its return, all of them`)
  const lateness = meanwhile
    .filter(({ due }) => due > back)
    .map((one) => one.fired - one.due)
    .toSorted((a, b) => a - b)
  const p99 = lateness[Math.ceil(lateness.length * 0.99) - 1] ?? Infinity
  t.ok(lateness.length >= 40, `${lateness.length} fell due after that`)
  t.ok(p99 < 1000, `p99 ${Math.round(p99)} ms late, p50 ${Math.round(lateness[lateness.length >> 1] ?? 0)} ms`)
  for (const id of waits) t.match(await ended(id), { status: 'completed', result: { late: Number } })

  const timers = await Promise.all(Array.from({ length: 100 }, () => start('sleeping', { ms: 1000 })))
  const late: number[] = []
  for (const id of timers) late.push(Number((await ended(id)).result))
  late.sort((a, b) => a - b)
  t.ok(late[0]! >= 0, 'never early')
  t.ok(late[98]! < 1000, `p99 ${late[98]} ms late, p50 ${late[50]} ms`)

  // Cancelled about when it fires, from well before to well after: one of the two wins, and a replay says the same.
  const raced = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const id = await start('sleeping', { ms: 700 })
      const cancelled = performance.now() + 200 + 40 * n
      await until(() => performance.now() > cancelled, { every: 5 })
      await ask(id, 'cancel')
      return id
    }),
  )
  const ends = new Map<string, string>()
  for (const id of raced) ends.set(id, (await ended(id)).status)
  const counts = [...ends.values()].reduce<Record<string, number>>((sum, status) => ({ ...sum, [status]: (sum[status] ?? 0) + 1 }), {})
  t.comment(JSON.stringify(counts))
  t.strictSame(Object.keys(counts).toSorted(), ['cancelled', 'completed'], 'either wins some')
  await second.kill()
  await flows.process('runtime,worker')
  for (const id of raced) {
    t.equal((await show(id)).status, ends.get(id))
    const replayed = (await flows.rest.get(`/v1/executions/${id}/state`)).json() as { status: string }
    t.equal(replayed.status, ends.get(id))
    const history = JSON.stringify(await eventsOf(flows, id))
    t.equal(await replayHistory(workflowOf('sleeping'), history), undefined, 'its function decides the same again')
    t.ok(await replayHistory(workflowOf('waiting'), history), 'and another would be found out')
  }

  const paused = await start('waiting', { ms: 600_000 })
  await until(async () => (await flows.diagnosis(paused)).cause === 'waiting-for-event', { what: 'the wait' })
  t.equal(await ask(paused, 'pause'), 202)
  await flows.diagnosed(paused, 'paused')
  await signal(paused, 'go', 'while paused')
  t.equal((await show(paused)).status, 'paused')
  t.equal(await ask(paused, 'resume'), 202)
  t.match(await ended(paused), { status: 'completed', result: { came: 'while paused' } })
  const doomed = await start('waiting', { ms: 600_000 })
  await until(async () => (await flows.diagnosis(doomed)).cause === 'waiting-for-event', { what: 'the wait' })
  t.equal(await ask(doomed, 'terminate'), 202)
  t.match(await ended(doomed), { status: 'terminated' })
  t.equal(await ask(doomed, 'resume'), 409)
})

t.test('a diagnosis names the wait that is open, whenever cancels came', async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, signal, ended, ask, show } = flows
  const { admin } = flows.installation.database
  const saysUndone = (id: string) =>
    until(async () => /waits for undone/.test((await flows.diagnosis(id)).summary), { within: 20_000, what: 'the wait of the undoing' })
  // In the log before the first wait is declared: no runtime runs yet.
  const early = await start('undoing')
  await until(async () => (await show(early)).status === 'running', { what: 'the start to be recorded' })
  t.equal(await ask(early, 'cancel'), 202)
  await flows.process('runtime')
  await saysUndone(early)
  t.strictSame((await flows.diagnosis(early)).also, [])

  const twice = await start('undoing')
  t.match((await flows.diagnosed(twice, 'waiting-for-event')).evidence, { names: ['go'], timeoutAt: null })
  t.equal(await ask(twice, 'cancel'), 202)
  await saysUndone(twice)
  t.equal(await ask(twice, 'cancel'), 202)
  const cancels = async () =>
    (await admin.query("SELECT FROM refold.workflow_events WHERE execution_id = $1 AND event_name = 'workflow.cancelRequested'", [twice]))
      .rowCount
  await until(async () => (await cancels()) === 2, { what: 'the second cancel to be recorded' })
  t.match(await flows.diagnosis(twice), { cause: 'waiting-for-event', evidence: { names: ['undone'] } }, 'only the first one counts')

  const plain = await start('undoing')
  await flows.diagnosed(plain, 'waiting-for-event')
  await signal(plain, 'go', 'came')
  t.match(await ended(plain), { result: 'came' })
  for (const id of [early, twice]) {
    await signal(id, 'undone', 'mended')
    t.match(await ended(id), { status: 'completed', result: 'mended' })
  }
  const { rows } = await admin.query('SELECT status FROM refold.workflow_waits WHERE ended_at IS NULL')
  t.strictSame(rows, [], 'of executions that are over no wait is open')
  const { rows: came } = await admin.query('SELECT status, event_name FROM refold.workflow_waits WHERE execution_id = $1', [plain])
  t.strictSame(came, [{ status: 'satisfied', event_name: 'go' }])
})

t.test('each cause is named, with what it rests on', { timeout: 240_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, diagnosed, ask } = flows
  const folded = '0b8f1c7e-5d1e-4c3a-9a44-2f1f6f0c9a02'
  await flows.signal(folded, 'order.placed')
  t.strictSame((await diagnosed(folded, 'not-driven')).also, [], 'it needs no runtime')
  const unregistered = await start('nobody-has-it')
  t.match((await diagnosed(unregistered, 'no-runtime')).evidence, { runtimes: [] })
  const all = await flows.process('runtime,worker')

  const failing = await start('failing')
  // Its failure is recorded first, then what the runtime decides.
  const scheduled = async () => {
    const one = await diagnosed(failing, 'action-retrying')
    return one.evidence['nextAttemptAt'] !== null && one
  }
  const retrying = await until(scheduled, { what: 'the next attempt to be decided' })
  t.match(retrying.evidence, { name: 'fragile', attempt: 1, attempts: 3, lastError: { message: /503/, code: 'TARGET_DOWN' } })
  t.match(retrying.byItself, /attempt 2 starts at 20/)
  t.equal(await ask(failing, 'retry'), 202)
  await until(async () => (await diagnosed(failing, 'action-retrying')).evidence['attempt'] === 2, { what: 'the second attempt' })
  const stuck = await start('stuck')
  t.match((await diagnosed(stuck, 'no-worker')).evidence, { name: 'unmanned' })
  const waiting = await start('waiting', { ms: 600_000 })
  t.match((await diagnosed(waiting, 'waiting-for-event')).evidence, { names: ['go'], timeoutAt: String })
  const sleeping = await start('sleeping', { ms: 600_000 })
  t.match((await diagnosed(sleeping, 'timer')).summary, /sleeps until 20/)
  const busy = await start('fan', { width: 1, ms: 5000 })
  t.match((await diagnosed(busy, 'action-running')).evidence, { name: 'mark', attempt: 1 })
  const foreign = await start('foreign')
  t.match((await diagnosed(foreign, 'diverged')).evidence, { divergence: { reason: /not of its context/ } })
  t.equal(await ask(foreign, 'terminate'), 202)
  t.equal((await flows.ended(foreign)).status, 'terminated')
  const incidents = async () => ((await flows.rest.get('/v1/incidents')).json() as { incidents: { executionId: string }[] }).incidents
  await until(async () => (await incidents()).every(({ executionId }) => executionId !== foreign), { what: 'its incident to be closed' })
  const long = await start('long')
  t.match(await flows.ended(long), { result: '6 parts, the last ones by attempt 2' }, 'silence is found by the heartbeat, progress is kept')
  t.match(await flows.ended(busy), { status: 'completed' })
  t.match(await flows.diagnosis(busy), { cause: 'ended' })

  await all.kill()
  // Another runtime that says it lives but has no partitions: what a rebalance that does not end looks like.
  const { admin } = flows.installation.database
  await admin.query("UPDATE refold.processes SET partitions = '{}' WHERE role = 'runtime'")
  t.match((await diagnosed(waiting, 'partition-unowned')).byItself, /session timeout/)
  await admin.query("UPDATE refold.processes SET seen_at = now() - interval '1 minute'")
  t.match((await diagnosed(waiting, 'no-runtime')).evidence, { runtimes: [] })
})
