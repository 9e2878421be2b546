// A rebuild that meets an event at which the code throws, on real servers: what a person passed stays passed, and the live
// generation never waits for one that stands.

import t from 'tap'
import { freePort } from '../support/free-port.ts'
import { executionOf, type Operation, useWorld, type World } from '../support/projection-world.ts'
import { runRefold } from '../support/refold-process.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const openIncidents = async ({ installation }: World): Promise<string[]> =>
  (
    await installation.database.admin.query<{ subject: string }>(
      "SELECT subject FROM refold.incidents WHERE kind = 'projection-parked' AND closed_at IS NULL ORDER BY 1",
    )
  ).rows.map(({ subject }) => subject.replace(/\/.*/, ''))

const skips = async ({ installation }: World) =>
  (
    await installation.database.admin.query<{ generation: number; reason: string }>(
      'SELECT generation, reason FROM refold.projection_skips ORDER BY generation',
    )
  ).rows

const stands = (world: World, reader: string) =>
  until(async () => (await openIncidents(world)).includes(reader), { within: 60_000, what: `${reader} to stand` })

const saysParked = (world: World, id: string) =>
  until(
    async () => {
      const now = (await world.rest.get(`/v1/operations/${id}`)).json() as Operation
      return (now.progress.parked ?? []).length > 0 && now.state === 'building' && now
    },
    { within: 30_000, what: 'the operation to say that it is parked' },
  )

/** Gives how to ask /readyz of the projector that is started next. */
async function withHealth({ installation }: World): Promise<() => Promise<{ status: number; body: unknown }>> {
  const port = await freePort()
  Object.assign(installation.env, { REFOLD_HEALTH_PORT: String(port), REFOLD_STUCK_AFTER: '1000' })
  return async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
    return { status: answer.status, body: await answer.json() }
  }
}

const projectorTo = (ready: () => Promise<{ status: number; body: unknown }>, detail: RegExp) =>
  until(
    async () => {
      const answer = await ready()
      return detail.test(JSON.stringify(answer.body)) && answer
    },
    { within: 30_000, what: `/readyz to say ${detail}` },
  )

const one = (name: string) => [{ execution_id: executionOf(5), event_name: name }]

t.test('a position that a person passed is passed by a rebuild too', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const ready = await withHealth(world)
  await world.project('fragile')
  await world.send(0, 20)
  await world.rest.send(one('poison'))
  await stands(world, 'cases@g1')
  t.equal((await projectorTo(ready, /cases@g1 \(live\): stuck/)).status, 503, 'a live generation that stands is for somebody to look at')
  t.equal((await world.ask('cases', 'skip', { reason: 'known to be wrong' })).status, 202)
  await world.caughtUp('cases', 81)
  const { operation } = await world.ask('cases', 'rebuild')
  const built = await world.operation(operation, 'ready')
  t.equal(built.comparison?.differing, 0)
  t.strictSame(await skips(world), [
    { generation: 1, reason: 'known to be wrong' },
    { generation: 2, reason: 'known to be wrong (taken over from generation 1)' },
  ])
  t.strictSame(await openIncidents(world), [])
  await world.rest.send([...one('case.after'), ...one('case.after')])
  await world.caughtUp('cases', 83)
})

t.test('a rebuild that is parked holds nobody, says so, and can be given up or helped on', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const before = await world.project()
  await world.send(0, 20)
  await world.rest.send(one('poison'))
  await world.caughtUp('cases', 81)
  t.equal(await before.stop(), 0)

  // The live generation folded it with other code; the one that is built can't.
  const readiness = await withHealth(world)
  await world.project('fragile')
  const first = await world.ask('cases', 'rebuild')
  await stands(world, 'cases@g2')
  await world.rest.send([...one('case.after'), ...one('case.after')])
  await world.caughtUp('cases', 83)
  const parked = await saysParked(world, first.operation)
  const [position] = parked.progress.parked ?? []
  t.match(parked.log.at(-1)?.line, `generation 2 is parked at ${position}: see \`refold incidents\``)
  t.match(await world.show('cases'), { parked: [], generations: [{ parked: [] }, { generation: 2, parked: [position] }] })
  const asTerminal = '--import=data:text/javascript,process.stdout.isTTY=true'
  const asked = { ...world.installation.env, REFOLD_API_URL: world.url, REFOLD_API_TOKEN: 'token', NODE_OPTIONS: asTerminal }
  t.match((await runRefold(['projection', 'show', 'cases'], asked)).stdout, new RegExp(`2 +1 +building, parked at ${position}`))

  t.match(await projectorTo(readiness, /cases@g2 \(building\): stuck/), {
    status: 200,
    body: { status: 'ready', parts: { projector: { ready: true } } },
  })

  await world.ask('cases', 'abort')
  await world.operation(first.operation, 'aborted')
  t.strictSame(await openIncidents(world), [], 'a generation that is gone needs nobody')
  t.equal((await world.ask('cases', 'skip', { reason: 'too late' })).status, 409, 'nothing is parked')

  const second = await world.ask('cases', 'rebuild')
  await stands(world, 'cases@g3')
  await saysParked(world, second.operation)
  t.match(await world.ask('cases', 'skip', { reason: 'known to be wrong' }), { status: 202, detail: new RegExp(`passes? ${position}$`) })
  const ready = await world.operation(second.operation, 'ready')
  t.ok(
    ready.log.some(({ line }) => line === `generation 3 goes on from ${position}`),
    JSON.stringify(ready.log),
  )
  t.strictSame(await skips(world), [{ generation: 3, reason: 'known to be wrong' }])
  t.strictSame(await openIncidents(world), [])
  await world.caughtUp('cases', 83)
})
