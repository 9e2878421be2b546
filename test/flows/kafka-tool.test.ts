// Projections reset with Kafka's own tool, kafka-consumer-groups, as an operator runs it.

import { execFile } from 'node:child_process'
import path from 'node:path'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const ROOT = path.join(import.meta.dirname, '..', '..')
const APP = path.join(import.meta.dirname, '..', 'support', 'projection-app.ts')
const EXECUTIONS = 250
const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a45-${n.toString(16).padStart(12, '0')}`

t.test('to the first event, to a time, back by 500, one partition, to the latest, deleted', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  Object.assign(installation.env, { REFOLD_GROUP_SESSION: '1500', REFOLD_GROUP_HEARTBEAT: '300', REFOLD_OPERATOR_TOKENS: 'token' })
  const { admin } = installation.database
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app: APP })
  // Both look at every group.
  await startRefold(t, installation, 'projector', { app: APP })
  const rest = restOf(url, 'token')
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const topic = `${prefix}.events`
  let sent = 0
  let live = 1

  const tool = (...args: string[]) =>
    new Promise<{ code: number; output: string }>((resolve) => {
      const argv = [path.join(ROOT, 'cli', 'main.ts'), 'stack', 'kafka-consumer-groups', ...args]
      execFile(process.execPath, argv, { cwd: ROOT, env: installation.env }, (error, stdout, stderr) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr }),
      )
    })
  const group = (of = live) => ['--group', `${prefix}.projection.states.g${of}`]
  const resetOf = (of: number, which: string, ...how: string[]) =>
    tool(...group(of), '--topic', which, '--reset-offsets', ...how, '--execute')
  const resetTo = (which: string, ...how: string[]) => resetOf(live, which, ...how)
  const ask = async (verb: string) =>
    (await rest.post(`/v1/projections/states/${verb}`, '{}', { 'content-type': 'application/json' })).status
  const shown = async () =>
    (await rest.get('/v1/projections/states')).json() as { liveGeneration: number; lag: number; operation: string | null }
  const counted = async () =>
    Number(
      (await admin.query<{ n: string }>("SELECT coalesce(sum(events), 0) AS n FROM projections.states WHERE state = 'placed'")).rows[0]?.n,
    )
  const send = async (executions: number) => {
    const events = Array.from({ length: executions }, (_, i) => ({
      execution_id: executionOf(sent + i),
      event_name: 'case.placed',
      to_state: 'placed',
    }))
    t.equal((await rest.send(events)).status, 202)
    sent += executions
  }
  const exact = (what: string) =>
    until(async () => (await counted()) === sent && (await shown()).lag === 0, {
      within: 60_000,
      every: 100,
      what: `${what}: ${sent} counted`,
    })
  const stopped = async () => {
    t.equal(await ask('stop'), 202)
    await until(async () => /no active members/.test((await tool(...group(), '--describe')).output), {
      within: 60_000,
      what: 'an empty group',
    })
  }
  /** What a person's offsets below the checkpoint mean: a new generation from the first event, promoted. */
  const rebuilt = async (what: string) => {
    t.equal(await ask('start'), 202)
    live += 1
    await until(async () => (await shown()).liveGeneration === live && (await shown()).operation === null, { within: 60_000, what })
    await exact(what)
  }
  await send(EXECUTIONS)
  await exact('at first')

  const refused = await resetTo(topic, '--to-earliest')
  t.match(refused.output, /group .*(inactive|Stable|current state)/i, 'while it runs, Kafka refuses')
  t.equal((await shown()).liveGeneration, 1)

  // As left by a process that died after it had deleted the group, or may not delete it: the same request would be taken for this one.
  const noted = async () => (await admin.query('SELECT FROM refold.answered_offsets')).rowCount ?? 0
  await admin.query('INSERT INTO refold.answered_offsets (group_name, partition, log_offset) VALUES ($1, 0, 0), ($2, 0, 0)', [
    `${prefix}.projection.states.g1`,
    `${prefix}.recorder`,
  ])
  await until(async () => (await noted()) === 0, { within: 30_000, what: 'notes of what the mirror has overwritten to be gone' })

  await stopped()
  t.match((await resetTo(topic, '--to-earliest')).output, /states\.g1\s.*\s0\s/)
  await rebuilt('to-earliest')

  // The same once more after a rollback: another request.
  const begun = async (verb: string) => t.equal(await ask(verb), 202)
  const isLive = async (generation: number) => {
    live = generation
    await until(async () => (await shown()).liveGeneration === live && (await shown()).operation === null, {
      within: 60_000,
      what: `generation ${live} to be live`,
    })
  }
  await begun('rollback')
  await isLive(1)
  await stopped()
  t.match((await resetTo(topic, '--to-earliest')).output, /states\.g1\s.*\s0\s/)
  t.equal(await ask('start'), 202)
  await isLive(3)
  await exact('to-earliest after a rollback')

  // While a rebuild waits for a person: refused, and said.
  await begun('rebuild')
  const operation = (await shown()).operation ?? ''
  const ofIt = async () => (await rest.get(`/v1/operations/${operation}`)).json() as { state: string; log: { line: string }[] }
  await until(async () => (await ofIt()).state === 'ready', { within: 60_000, what: 'the rebuild to be ready' })
  await stopped()
  t.equal((await resetTo(topic, '--to-earliest')).code, 0)
  await begun('start')
  await until(async () => (await ofIt()).log.some(({ line }) => /by Kafka's tool: ignored/.test(line)), {
    within: 30_000,
    what: 'the answer in its log',
  })
  t.match((await rest.get('/v1/incidents')).json(), { incidents: [{ kind: 'offset-refused', summary: /\(rebuild, ready\) is open/ }] })
  await begun('abort')
  await until(async () => (await shown()).operation === null, { within: 30_000, what: 'the rebuild to be given up' })
  t.match(await shown(), { liveGeneration: 3 }, 'and it is not done later')

  // Yesterday's command, with the group of a generation that was retired: the newest one here, which was given up.
  t.equal((await resetOf(4, topic, '--to-earliest')).code, 0)
  await isLive(5)
  await exact("a retired generation's group")

  const between = new Date().toISOString().replace('Z', '')
  await send(50)
  await exact('before to-datetime')
  await stopped()
  t.equal((await resetTo(topic, '--to-datetime', between)).code, 0)
  await rebuilt('to-datetime')

  await stopped()
  t.equal((await resetTo(topic, '--shift-by', '-500')).code, 0)
  await rebuilt('shift-by -500')

  const { rows } = await admin.query<{ partition: number }>(
    'SELECT partition FROM refold.workflow_events GROUP BY 1 ORDER BY count(*) DESC LIMIT 1',
  )
  await stopped()
  t.equal((await resetTo(`${topic}:${rows[0]?.partition}`, '--shift-by', '-3')).code, 0)
  await rebuilt('one partition')

  // To the latest, with events not folded yet: nothing is skipped, nothing is built for it.
  await stopped()
  await send(60)
  t.equal((await resetTo(topic, '--to-latest')).code, 0)
  t.equal(await ask('start'), 202)
  await exact('to-latest')
  t.equal((await shown()).liveGeneration, live, 'no needless rebuild')
  t.match((await rest.get('/v1/incidents')).json(), { incidents: [{ kind: 'offset-refused', summary: /nothing is skipped/ }] })

  // To the latest, with everything folded: it is where it is.
  await stopped()
  t.equal((await resetTo(topic, '--to-latest')).code, 0)
  t.equal(await ask('start'), 202)
  await send(10)
  await exact('to-latest at the end')
  t.equal((await shown()).liveGeneration, live)

  await stopped()
  t.match((await tool(...group(), '--topic', topic, '--delete-offsets')).code, 0)
  t.equal(await ask('start'), 202)
  await send(10)
  await exact('offsets deleted')
  t.equal((await shown()).liveGeneration, live)

  // One for each request, whichever process heard it: to the first event twice, by a retired group, to a time, by −500, one partition.
  const { rows: operations } = await admin.query<{ kind: string; n: number }>(
    "SELECT kind, count(*)::int AS n FROM refold.operations WHERE projection = 'states' GROUP BY kind ORDER BY kind",
  )
  t.strictSame(operations, [
    { kind: 'rebuild', n: 1 },
    { kind: 'reset', n: 6 },
    { kind: 'rollback', n: 1 },
  ])
  t.equal((await ofIt()).log.filter(({ line }) => /by Kafka's tool: ignored/.test(line)).length, 1)
})
