// Projections on real servers: exact over kills, read in SQL and over REST, rebuilt in every way without anybody noticing.

import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { APP, executionOf, STATES, useWorld, type World } from '../support/projection-world.ts'
import { runRefold, startCommand } from '../support/refold-process.ts'
import { startRivals } from '../support/rival-projectors.ts'
import { until } from '../support/wait.ts'

t.setTimeout(600_000)

/** Deaths in the middle of catch-up, and how long two fight over the same partitions, ms. */
const KILLS = Number(process.env['REFOLD_TEST_KILLS'] ?? 5)
const FIGHT = Number(process.env['REFOLD_TEST_FIGHT'] ?? 5000)
/** Events that are to be folded when a process starts that is to die in their middle; they are folded in small batches. */
const CATCH_UP = 4000
const SMALL = { REFOLD_PROJECTOR_BATCH: '10' }

const recorded = async ({ installation }: World) =>
  Number((await installation.database.admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')).rows[0]?.n)

const countsOf = async ({ installation }: World, table: string) =>
  (
    await installation.database.admin.query<{ k: string; n: string }>(
      `SELECT * FROM (SELECT ${table === 'names' ? 'name' : 'state'} AS k, events AS n FROM projections.${table}) x ORDER BY 1`,
    )
  ).rows.map(({ k, n }) => `${k} ${n}`)

t.test('rows are exact, though projectors are killed in the middle of catch-up, and fight over the same partitions', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { admin } = world.installation.database
  const places = async () => {
    const { rows } = await admin.query<{ reader: string; n: string }>(
      'SELECT reader, sum(next_offset) AS n FROM refold.checkpoints GROUP BY reader',
    )
    const placeOf = (reader: string) => Number(rows.find((one) => one.reader === reader)?.n ?? 0)
    return { recorder: placeOf('recorder'), folds: [placeOf('states@g1'), placeOf('cases@g1')] as const }
  }
  let EXECUTIONS = 0
  for (let kill = 0; kill < KILLS; kill++) {
    // The log is filled while nobody folds it.
    const { recorder, folds: before } = await places()
    const more = 100 * Math.ceil((CATCH_UP - (recorder - Math.max(...before))) / STATES.length / 100)
    if (more > 0) await world.send(EXECUTIONS, more)
    EXECUTIONS += Math.max(0, more)
    await until(async () => (await recorded(world)) === EXECUTIONS * STATES.length, { within: 60_000, what: 'all to be recorded' })
    const end = (await places()).recorder
    const projector = await world.project('1', SMALL)
    await until(async () => (await places()).folds.every((place, i) => place > before[i]!), {
      within: 30_000,
      every: 1,
      what: 'both projections to move',
    })
    await projector.kill()
    const { folds } = await places()
    t.ok(
      folds.every((place) => place < end),
      `killed at ${folds.join(' and ')} of ${end}, started at ${before.join(' and ')}`,
    )
  }
  await world.project()
  await world.project() // a second one, in the same groups
  await world.caughtUp('cases', EXECUTIONS * STATES.length)
  await world.caughtUp('states', EXECUTIONS * STATES.length)
  await world.caughtUp('handled', EXECUTIONS * STATES.length)
  const expected = STATES.map((state) => `${state} ${EXECUTIONS}`).toSorted()
  t.strictSame(await countsOf(world, 'states'), expected)
  t.strictSame(await countsOf(world, 'names'), STATES.map((state) => `case.${state} ${EXECUTIONS}`).toSorted())
  const { rows } = await admin.query<{ rows: string; events: string; amount: string; sent: string }>(
    "SELECT count(*) AS rows, sum(events) AS events, sum(amount) AS amount, count(*) FILTER (WHERE state = 'sent') AS sent FROM projections.cases",
  )
  const amount = STATES.length * ((EXECUTIONS * (EXECUTIONS - 1)) / 2)
  t.match(rows[0], {
    rows: String(EXECUTIONS),
    events: String(EXECUTIONS * STATES.length),
    amount: String(amount),
    sent: String(EXECUTIONS),
  })

  const one = (await world.rest.get(`/v1/projections/cases/rows?execution=${executionOf(7)}`)).json() as { rows: object[] }
  t.match(one.rows, [{ execution: executionOf(7), events: '4', state: 'sent', amount: 28, last_position: /^p\d+:\d+$/ }])
  const seen = new Set<string>()
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = (await world.rest.get(`/v1/projections/cases/rows?limit=400${cursor === '' ? '' : `&cursor=${cursor}`}`)).json() as {
      rows: { execution: string }[]
      nextCursor: string | null
    }
    for (const { execution } of page.rows) seen.add(execution)
    cursor = page.nextCursor
  }
  t.equal(seen.size, EXECUTIONS, 'every row on one page')
  t.match((await world.rest.get('/v1/projections/cases/rows?state=sent')).json(), { detail: /state is no key/ })
  for (const wrong of [
    'execution=banana',
    'execution=%00',
    'cursor=WyJhIl0',
    `cursor=${Buffer.from('["\\u0000","1"]').toString('base64url')}`,
  ])
    t.match((await world.rest.get(`/v1/projections/cases/rows?${wrong}`)).json(), { status: 400, detail: String }, wrong)
  t.match((await world.rest.get('/v1/projections/cases/rows?execution=banana')).json(), { detail: /banana.*execution is uuid/s })
  const watermark = await admin.query("SELECT count(*) AS n FROM refold.watermark('cases')")
  t.equal(Number(watermark.rows[0].n), 12)
})

t.test('two processes that both project every partition leave the rows exact', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { installation, brokers } = world
  const projector = await world.project()
  await world.send(0, 10)
  await world.caughtUp('states', 40)
  await projector.kill()
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const NAMES = ['cases', 'states']
  const rivals = await startRivals(t, { app: APP, names: NAMES, brokers, databaseUrl: installation.database.url, prefix })
  const end = performance.now() + FIGHT
  let sent = 10
  while (performance.now() < end) {
    await world.send(sent, 50)
    sent += 50
  }
  for (const name of NAMES) await world.caughtUp(name, sent * STATES.length)
  t.strictSame(await countsOf(world, 'states'), STATES.map((state) => `${state} ${sent}`).toSorted())
  const { rows } = await installation.database.admin.query('SELECT count(*)::int AS n, sum(events)::int AS events FROM projections.cases')
  t.match(rows, [{ n: sent, events: sent * STATES.length }])
  const overtaken = await rivals.stop()
  t.ok(
    overtaken.every((count) => count > 0),
    `${overtaken.join(' and ')} batches were thrown away in ${FIGHT} ms`,
  )
})

t.test('a rebuild finds what differs, is promoted without a gap, and can be gone back from', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { admin } = world.installation.database
  const projector = await world.project()
  await world.send(0, 500)
  await world.caughtUp('cases', 2000)

  // Unchanged code, and a row of each kind spoiled by hand.
  await admin.query('UPDATE refold_p_cases_g1.cases SET amount = -1 WHERE execution = $1', [executionOf(1)])
  await admin.query('DELETE FROM refold_p_cases_g1.cases WHERE execution = $1', [executionOf(2)])
  await admin.query("INSERT INTO refold_p_cases_g1.cases (partition, tenant, execution, events) VALUES (3, 'tenant', $1, 1)", [
    executionOf(9999),
  ])
  const { operation } = await world.ask('cases', 'rebuild')
  t.equal((await world.ask('cases', 'rebuild')).status, 409, 'one open operation a projection')
  const ready = await world.operation(operation, 'ready')
  const shown = (ready.comparison?.partitions ?? []).flatMap((one) => one.shown).map(({ kind, key }) => `${kind} ${key.execution}`)
  t.strictSame(shown.toSorted(), [`changed ${executionOf(1)}`, `extra ${executionOf(2)}`, `missing ${executionOf(9999)}`].toSorted())

  // Under load, every read is whole and never older than the one before.
  const enough = new AbortController()
  const wrong: string[] = []
  const reads = (async () => {
    let last = 0
    while (!enough.signal.aborted) {
      const answer = await world.rest.get(`/v1/projections/cases/rows?execution=${executionOf(1)}`)
      const [row] = (answer.json() as { rows: { events: string }[] }).rows ?? []
      if (answer.status !== 200 || !row) wrong.push(`${answer.status} ${answer.text}`)
      else if (Number(row.events) < last) wrong.push(`${row.events} after ${last}`)
      else last = Number(row.events)
    }
  })()
  const load = world.send(10_000, 500)
  await world.ask('cases', 'promote')
  await world.operation(operation, 'done')
  await load
  t.match(await world.show('cases'), { liveGeneration: 2, previousGeneration: 1 })
  await world.caughtUp('cases', 4000)
  const { rows } = await admin.query<{ n: string; amount: string }>('SELECT count(*) AS n, min(amount) AS amount FROM projections.cases')
  t.match(rows[0], { n: '1000', amount: '0' }, 'what was spoiled is right again')

  const back = await world.ask('cases', 'rollback')
  await world.operation(back.operation, 'done')
  t.match(await world.show('cases'), { liveGeneration: 1 })
  const forth = await world.ask('cases', 'rollback')
  await world.operation(forth.operation, 'done')
  t.match(await world.show('cases'), { liveGeneration: 2 })
  enough.abort()
  await reads
  t.strictSame(wrong, [], 'no error, no older state')
  t.equal((await world.ask('cases', 'retire', { generation: 2 })).status, 409, 'the live one stays')
  t.equal((await world.ask('cases', 'retire')).status, 202)
  t.equal((await admin.query("SELECT FROM pg_namespace WHERE nspname = 'refold_p_cases_g1'")).rowCount, 0)
  t.equal(await projector.stop(), 0)

  // A changed fold: exactly the keys that it folds otherwise.
  await world.project('changed')
  const changed = await world.ask('cases', 'rebuild')
  const differs = await world.operation(changed.operation, 'ready')
  t.equal(differs.comparison?.differing, 1000, 'every execution was paid once')
  await world.ask('cases', 'abort')
  await world.operation(changed.operation, 'aborted')
  t.match(await world.show('cases'), { liveGeneration: 2, operation: null })
})

t.test('a new version is built beside the old one, and promoted when it has caught up', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const old = await world.project()
  await world.send(0, 200)
  await world.caughtUp('cases', 800)
  await until(async () => (await world.show('cases')).foldedBy === 1, { what: 'the projector to say what it folds' })
  t.equal((await world.show('derived')).foldedBy, null, 'the recorder does')
  t.equal(await old.stop(), 0)
  t.equal((await world.show('cases')).foldedBy, 0)
  const asTerminal = '--import=data:text/javascript,process.stdout.isTTY=true'
  const asked = { ...world.installation.env, REFOLD_API_URL: world.url, REFOLD_API_TOKEN: 'token', NODE_OPTIONS: asTerminal }
  t.match((await runRefold(['projection', 'list'], asked)).stdout, /cases +1 +1 +no process/)
  t.match(
    (await runRefold(['projection', 'show', 'cases'], asked)).stdout,
    /no process folds it: start an application that defines cases version 1/,
  )
  const next = await world.project('2')
  await until(async () => (await world.show('cases')).liveGeneration === 2, { within: 60_000, what: 'version 2 to be live' })
  await world.caughtUp('cases', 800)
  await next.kill()
  const waiting = startCommand(['projection', 'rebuild', 'cases', '--wait'], asked)
  let told = ''
  waiting.child.stderr.on('data', (text: string) => (told += text))
  await until(() => told.includes('it begins when one with --roles projector and an application that defines cases runs'), {
    what: 'the terminal to say why nothing begins',
  })
  waiting.child.kill('SIGKILL')
})

t.test("Kafka's own tool asks for a reset; what would skip events is refused", async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { installation, brokers } = world
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const kafka = new Kafka({ brokers, clientId: 'person', logLevel: logLevel.NOTHING }).admin()
  await kafka.connect()
  t.teardown(() => kafka.disconnect())
  const group = (n: number) => `${prefix}.projection.states.g${n}`
  await world.project()
  await world.send(0, 200)
  await world.caughtUp('states', 800)
  const stop = async () => {
    t.equal((await world.ask('states', 'stop')).status, 202)
    await until(async () => (await kafka.describeGroups([group(live)])).groups[0]?.members.length === 0, {
      within: 30_000,
      what: 'the group to be empty',
    })
  }
  const reset = async (offsets: { partition: number; offset: string }[]) => {
    await stop()
    await kafka.setOffsets({ groupId: group(live), topic: `${prefix}.events`, partitions: offsets })
    await world.ask('states', 'start')
  }
  let live = 1
  const all = await kafka.fetchTopicOffsets(`${prefix}.events`)
  await reset(all.map(({ partition }) => ({ partition, offset: '0' })))
  live = 2
  await until(async () => (await world.show('states')).liveGeneration === 2, { within: 60_000, what: 'the reset to earliest' })
  t.strictSame(await countsOf(world, 'states'), STATES.map((state) => `${state} 200`).toSorted())
  const one = all.find(({ high }) => Number(high) > 5)!
  await reset([{ partition: one.partition, offset: String(Number(one.high) - 3) }])
  live = 3
  await until(async () => (await world.show('states')).liveGeneration === 3, { within: 60_000, what: 'the reset of one partition by −3' })
  t.strictSame(await countsOf(world, 'states'), STATES.map((state) => `${state} 200`).toSorted())

  // To the latest, with records that were not folded: refused, nothing is skipped.
  await stop()
  await world.send(500, 100)
  const ends = await until(
    async () => {
      const now = await kafka.fetchTopicOffsets(`${prefix}.events`)
      return now.reduce((sum, { high }) => sum + Number(high), 0) >= 1200 && now
    },
    { what: 'the events to be in the log' },
  )
  await kafka.setOffsets({
    groupId: group(3),
    topic: `${prefix}.events`,
    partitions: ends.map(({ partition, high }) => ({ partition, offset: high })),
  })
  await world.ask('states', 'start')
  await world.caughtUp('states', 1200)
  t.strictSame(await countsOf(world, 'states'), STATES.map((state) => `${state} 300`).toSorted())
  t.equal((await world.show('states')).liveGeneration, 3, 'no needless rebuild')
  t.match((await world.rest.get('/v1/incidents')).json(), { incidents: [{ kind: 'offset-refused', summary: /nothing is skipped/ }] })
  // Offsets deleted: ignored.
  await stop()
  await kafka.deleteGroups([group(3)])
  await world.ask('states', 'start')
  await world.send(900, 10)
  await world.caughtUp('states', 1240)
  t.equal((await world.show('states')).liveGeneration, 3)

  // The head of the log is cut: a rebuild reads the audit and gives the same.
  const cut = (await kafka.fetchTopicOffsets(`${prefix}.events`)).map(({ partition, high }) => ({
    partition,
    offset: String(Math.floor(Number(high) / 2)),
  }))
  await kafka.deleteTopicRecords({ topic: `${prefix}.events`, partitions: cut })
  for (const name of ['states', 'cases']) {
    const { operation } = await world.ask(name, 'rebuild')
    const ready = await world.operation(operation, 'ready')
    t.equal(ready.comparison?.differing, 0, `from the audit, the same rows of ${name}`)
  }
  const { rows } = await installation.database.admin.query('SELECT DISTINCT came_from FROM refold_p_cases_g2.cases')
  t.strictSame(rows, [{ came_from: 'before sent' }], 'of states as they were sent, not as they were computed')
})

t.test('a projection that throws stands at its event; others go on; a person lets it pass', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  await world.project('fragile')
  await world.send(0, 20)
  await world.rest.send([{ execution_id: executionOf(5), event_name: 'poison' }])
  await world.rest.send([{ execution_id: executionOf(5), event_name: 'case.after' }])
  await until(async () => /poison/.test((await world.rest.get('/v1/incidents')).text), { within: 30_000, what: 'the incident' })
  await world.caughtUp('states', 82)
  t.ok((await world.show('cases')).lag > 0, 'it stands')
  t.match(await world.show('cases'), { parked: [/^p\d+:\d+$/] }, 'and says where')
  t.equal((await world.ask('cases', 'skip')).status, 400, 'not without a reason')
  t.match(await world.ask('cases', 'stop', { reason: 'r' }), { status: 400, detail: /stop keeps none/ }, 'none is lost')
  t.equal((await world.ask('cases', 'skip', { reason: 'known to be wrong' })).status, 202)
  await world.caughtUp('cases', 82)
  t.match(await world.show('cases'), { parked: [] })
  const { rows } = (await world.rest.get(`/v1/projections/cases/rows?execution=${executionOf(5)}`)).json() as { rows: { events: string }[] }
  t.equal(rows[0]?.events, '5', 'all but the one that was passed')
})
