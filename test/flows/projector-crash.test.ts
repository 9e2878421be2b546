// A projector that dies at each of its fault points, a crash between checkpoint and mirror among them, and a mirror that is
// committed late: never a needless rebuild, never a skipped event.

import path from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { FAULT_POINTS } from '../../faults.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'projection-app.ts')
const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a47-${n.toString(16).padStart(12, '0')}`

t.test('a projector dies at every point', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  Object.assign(installation.env, { REFOLD_GROUP_SESSION: '1500', REFOLD_GROUP_HEARTBEAT: '300', REFOLD_OPERATOR_TOKENS: 'token' })
  const { admin } = installation.database
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const project = (env: NodeJS.ProcessEnv = {}) => startRefold(t, installation, 'projector', { app: APP, env })
  let sent = 0
  const send = async () => {
    const events = Array.from({ length: 40 }, (_, i) => ({ execution_id: executionOf(sent + i), event_name: 'placed', to_state: 'placed' }))
    t.equal((await rest.send(events)).status, 202)
    sent += events.length
  }
  const shown = async (name: string) => (await rest.get(`/v1/projections/${name}`)).json() as { liveGeneration: number; lag: number }
  const exact = (what: string) =>
    until(
      async () => {
        const { rows } = await admin.query<{ states: string; cases: string; names: string }>(`SELECT
          (SELECT coalesce(sum(events), 0) FROM projections.states) AS states, (SELECT coalesce(sum(events), 0) FROM projections.cases) AS cases,
          (SELECT coalesce(sum(events), 0) FROM projections.names) AS names`)
        return Object.values(rows[0] ?? {}).every((n) => Number(n) === sent) && (await shown('states')).lag === 0
      },
      { within: 60_000, every: 100, what: `${what}: ${sent} events in each of three projections` },
    )
  let projector = await project()
  await send()
  await exact('at first')

  for (const point of FAULT_POINTS.filter((one) => one.startsWith('projector:'))) {
    await projector.stop()
    await send()
    const dying = await project({ REFOLD_FAULTS: `${point}=kill@2` })
    await until(() => dying.child.signalCode === 'SIGKILL', { within: 60_000, what: `a death at ${point}` })
    projector = await project()
    await exact(point)
  }

  // Somebody who was a member long ago commits what it had: with our metadata, so it is a mirror and asks for nothing.
  await projector.stop()
  const zombie = new Kafka({ brokers: stack.kafkaBrokers, clientId: 'zombie', logLevel: logLevel.NOTHING }).consumer({
    groupId: `${prefix}.projection.states.g1`,
  })
  const joined = new Promise((resolve) => {
    zombie.on(zombie.events.GROUP_JOIN, resolve)
  })
  await zombie.connect()
  await zombie.subscribe({ topic: `${prefix}.events`, fromBeginning: true })
  await zombie.run({ autoCommit: false, eachMessage: async () => undefined })
  await joined
  await zombie.commitOffsets(
    Array.from({ length: 12 }, (_, partition) => ({ topic: `${prefix}.events`, partition, offset: '1', metadata: 'refold:states:g1:1' })),
  )
  await zombie.disconnect()
  await send()
  await project()
  await exact('a late mirror')

  for (const name of ['cases', 'states', 'handled']) t.equal((await shown(name)).liveGeneration, 1, `${name}: no needless rebuild`)
  t.strictSame((await rest.get('/v1/operations')).json(), { operations: [] })
  t.match((await rest.get('/v1/incidents')).text, '{"incidents":[]')
})
