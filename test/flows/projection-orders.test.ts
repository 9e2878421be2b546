// What persons ask of a projection in odd orders: twice, at the same time, of what does not exist, while it is stopped. Each answer
// says what to do, and no state is one that cannot be left.

import t from 'tap'
import { type Operation, useWorld } from '../support/projection-world.ts'
import { runRefold, startCommand } from '../support/refold-process.ts'
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
    t.match(await runRefold(['projection', 'skip', 'cases'], env), { code: 2, stderr: /--reason/ })
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

t.test('back to a generation that no code folds any more', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const old = await world.project()
  await world.send(0, 20)
  await world.caughtUp('cases', 80)
  await old.stop()
  await world.project('2')
  await until(async () => (await world.show('cases')).liveGeneration === 2, { within: 60_000, what: 'version 2 to be live' })
  await world.send(20, 20)
  await world.caughtUp('cases', 160)
  const asTerminal = '--import=data:text/javascript,process.stdout.isTTY=true'
  const env = { ...world.installation.env, REFOLD_API_URL: world.url, REFOLD_API_TOKEN: 'token', NODE_OPTIONS: asTerminal }
  const { child, finished } = startCommand(['projection', 'rollback', 'cases', '--wait'], env)
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (text: string) => (said += text))
  await until(() => said.includes('promoting, no process folds it'), { within: 30_000, what: () => `the terminal to say why, not ${said}` })
  t.match(said, /no process folds generation 1: start an application that defines cases version 1 with --roles projector, or `refold pro/)
  const [, id = ''] = /operation (\S+)/.exec(said) ?? []
  // Of the version that it waits for: the live one's code runs.
  const { stdout: looked } = await runRefold(['doctor'], world.installation.env)
  t.match(looked, /rollback of cases: promoting, no process folds generation 1\n.*defines cases version 1: .*--roles projector/)
  // The code of version 1 is back.
  await world.project()
  const { log } = await world.operation(id, 'done')
  t.strictSame(log.map(({ line }) => line).slice(-2), ['generation 1 is folded again', 'generation 1 is live'])
  t.equal((await finished).code, 0)
})
