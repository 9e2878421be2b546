// The tests and the shell command of docs/workflows.md run as their reader runs them: with Node alone, and on real servers.

import { execFile } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { orderFulfilment } from '../../examples/order-fulfilment/workflow.ts'
import { defineWorkflow } from '../../index.ts'
import { replayHistory } from '../../testing/index.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const ROOT = path.join(import.meta.dirname, '..', '..')
const run = promisify(execFile)

for (const [file, tests] of [
  ['examples/order-fulfilment/workflow.test.ts', 3],
  ['docs/examples/versions.test.ts', 1],
] as const)
  t.test(`node --test runs ${file}`, { timeout: 60_000 }, async (t) => {
    const argv = ['--test', '--test-reporter=tap', path.join(ROOT, file)]
    const { stdout } = await run(process.execPath, argv, { env: { PATH: process.env['PATH'] } })
    t.match(stdout, new RegExp(`^# pass ${tests}$`, 'm'), stdout)
    t.match(stdout, /^# fail 0$/m)
  })

t.test('the history that the command prints is one that a test replays', { timeout: 120_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const app = path.join(ROOT, 'examples', 'order-fulfilment', 'app.ts')
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker', { app })
  const rest = restOf(url, 'token')
  const input = { order: 'o1', amount: 2000, lines: 3 }
  const body = JSON.stringify({ workflow: 'order-fulfilment', version: '1', key: 'o1', input })
  const started = await rest.post('/v1/executions', body, { 'content-type': 'application/json' })
  const { executionId } = started.json() as { executionId: string }

  const cwd = t.testdir()
  writeFileSync(path.join(cwd, 'refold'), `#!/bin/sh\nexec "${process.execPath}" "${path.join(ROOT, 'cli', 'main.ts')}" "$@"\n`)
  chmodSync(path.join(cwd, 'refold'), 0o755)
  const PATH = `${cwd}:${process.env['PATH']}`
  const env = { ...installation.env, PATH, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token', EXECUTION: executionId }
  const exported = async () => {
    await run('bash', [path.join(ROOT, 'docs', 'examples', 'export.sh')], { cwd, env })
    return readFileSync(path.join(cwd, 'history.json'), 'utf8')
  }

  const state = async () => ((await rest.get(`/v1/executions/${executionId}`)).json() as { currentState?: string }).currentState
  await until(async () => (await state()) === 'awaiting-approval', { within: 30_000, what: 'the order to wait' })
  t.equal(await replayHistory(orderFulfilment, await exported()), undefined, 'of an open one, as far as it is')
  await rest.send([{ execution_id: executionId, event_name: 'order.approved' }])
  t.match((await rest.get(`/v1/executions/${executionId}/result`, { prefer: 'wait=60' })).json(), { status: 'completed' })

  const history = await exported()
  const names = (text: string) => (JSON.parse(text) as { event_name: string }[]).map(({ event_name: name }) => name)
  t.equal(names(history).at(-1), 'workflow.completed')
  t.equal(await replayHistory(orderFulfilment, history), undefined)
  const hasty = defineWorkflow(
    { name: 'order-fulfilment', version: '1', actions: orderFulfilment.actions },
    async ({ setState, events }) => {
      setState('reserving')
      await events.waitFor('order.approved')
    },
  )
  t.match(await replayHistory(hasty, history), { step: 2, expected: /action.scheduled/, got: /wait.started/ })
})
