// What persons ask of a projection in odd orders: twice, at the same time, of what does not exist, while it is stopped. Each answer
// says what to do, and no state is one that cannot be left.

import t from 'tap'
import { type Operation, useWorld } from '../support/projection-world.ts'
import { runRefold } from '../support/refold-process.ts'
import { until } from '../support/wait.ts'

t.setTimeout(200_000)

t.test('odd orders', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  await world.project()
  await world.send(0, 20)
  await world.caughtUp('cases', 80)
  const env = { ...world.installation.env, REFOLD_API_URL: world.url, REFOLD_API_TOKEN: 'token' }

  await t.test('of what does not exist', async (t) => {
    for (const args of [['diff'], ['diff', '--json'], ['stop'], ['rollback'], ['retire']])
      t.match(await runRefold(['projection', args[0]!, 'nope', ...args.slice(1)], env), {
        code: 1,
        stdout: '',
        stderr: /no projection nope/,
      })
    t.match(await runRefold(['projection', 'diff', 'cases'], env), { code: 0, stdout: 'null\n', stderr: /projection rebuild cases/ })
    t.match(await world.ask('cases', 'retire', { generation: 2_147_483_647 }), { status: 404, detail: /no generation 2147483647/ })
    t.match(await world.ask('cases', 'retire', { generation: 2_147_483_648 }), { status: 400, detail: /generation/ })
    t.match(await world.ask('cases', 'rebuild', { reason: 'a\0b' }), { status: 400, detail: /reason/ })
    t.match(await runRefold(['projection', 'skip', 'cases'], env), { code: 1, stderr: /--reason/ })
  })

  await t.test('while it is stopped', async (t) => {
    t.match(await world.ask('cases', 'stop'), { status: 202, detail: 'cases stops within a second or two' })
    t.match(await world.ask('cases', 'stop'), { status: 202 })
    const asked = await world.ask('cases', 'rebuild')
    t.match(asked, { status: 202, detail: /it is stopped.*`refold projection start cases`/ })
    t.match(await world.ask('cases', 'stop'), { status: 202, detail: new RegExp(`operation ${asked.operation} waits`) })
    t.equal((await world.ask('cases', 'start')).status, 202)
    t.equal((await world.ask('cases', 'start')).status, 202)
    await world.operation(asked.operation, 'ready')
  })

  await t.test('one gives up what another promotes', async (t) => {
    t.equal((await world.ask('cases', 'abort')).status, 202)
    t.match(await world.ask('cases', 'promote'), { status: 409, detail: /to be given up|no operation/ })
    await until(async () => (await world.show('cases')).operation === null, { what: 'the operation to be over' })
    t.match(await world.show('cases'), { liveGeneration: 1, generations: [{ generation: 1 }] })
  })

  await t.test('two at the same time', async (t) => {
    const both = await Promise.all([world.ask('cases', 'reset'), world.ask('cases', 'reset')])
    t.same(new Set(both.map(({ status }) => status)), new Set([202, 409]))
    await world.operation(both.find(({ status }) => status === 202)!.operation, 'done')
    const [back] = await Promise.all([world.ask('cases', 'rollback'), world.ask('cases', 'retire'), world.ask('cases', 'retire')])
    const isOver = async () => (await world.show('cases')).operation === null
    await until(isOver, { within: 20_000, what: 'the operation to be over' })
    if (back.status !== 202) return
    const { state, log } = (await world.rest.get(`/v1/operations/${back.operation}`)).json() as Operation
    t.ok(state === 'done' || (state === 'failed' && /is gone/.test(log.at(-1)?.line ?? '')), JSON.stringify(log))
  })
})
