// A process without the API tells how it is on a port of its own.

import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { freePort } from '../support/free-port.ts'
import { startCommand, startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

/** Environment of a process whose servers don't answer. */
const nowhere = (test: Test, healthPort: number) => ({
  ...process.env,
  KAFKA_BROKERS: '127.0.0.1:9',
  SCHEMA_REGISTRY_URL: 'http://127.0.0.1:9',
  DATABASE_URL: 'postgres://127.0.0.1:9/x',
  REDIS_URL: 'redis://127.0.0.1:9',
  REFOLD_API_TOKENS: 'secret=tenant-a',
  REFOLD_STACK: test.testdir(),
  REFOLD_HEALTH_PORT: String(healthPort),
})

t.test('a recorder alone serves /livez, /readyz and /metrics on REFOLD_HEALTH_PORT', async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (addresses.databaseUrl === undefined) return
  const installation = await useInstallation(t, addresses, 'secret=tenant-a')
  const port = await freePort()
  const recorder = await startRefold(t, { ...installation, env: { ...installation.env, REFOLD_HEALTH_PORT: String(port) } }, 'recorder')
  t.equal(recorder.url, '', 'no API')
  const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`)
  t.same(await (await ask('/livez')).json(), { status: 'live' })
  const ready = await ask('/readyz')
  t.equal(ready.status, 200)
  t.same(await ready.json(), { status: 'ready', parts: { kafka: { ready: true }, postgres: { ready: true }, recorder: { ready: true } } })
  t.match(await (await ask('/metrics')).text(), /refold_recorder_records_total/)
  t.match(await (await ask('/v1/events')).json(), { status: 404, type: 'urn:refold:problem:not-found' })
})

t.test('a process that waits for its servers is alive and not ready', async (t) => {
  const port = await freePort()
  const { child, finished } = startCommand(['start', '--roles', 'recorder'], nowhere(t, port))
  t.teardown(() => child.kill('SIGKILL'))
  const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`).catch(() => undefined)
  const live = await until(() => ask('/livez'), { what: '/livez' })
  t.equal(live.status, 200)
  const ready = await ask('/readyz')
  t.equal(ready?.status, 503)
  t.match(await ready?.json(), { status: 'not-ready', parts: { start: { ready: false } } })
  child.kill('SIGKILL')
  await finished
})

t.test('a port that is taken is a setting to correct', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const { finished } = startCommand(['start', '--roles', 'recorder'], nowhere(t, port))
  t.match(await finished, { code: 1, stderr: new RegExp(`setting is not valid: REFOLD_HEALTH_PORT=${port} on 127.0.0.1: .*EADDRINUSE`) })
})

t.test('so is the API’s, before anything is begun', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  // Servers that don't answer would be waited for.
  const start = (args: string[], env: NodeJS.ProcessEnv) =>
    startCommand(['start', '--roles', 'api,recorder', ...args], { ...nowhere(t, 0), ...env }).finished
  const refusal = (given: string) => ({ code: 1, stderr: new RegExp(`setting is not valid: ${given}=${port} on 127.0.0.1: .*EADDRINUSE`) })
  t.match(await start([], { REFOLD_PORT: String(port) }), refusal('REFOLD_PORT'))
  t.match(await start(['--port', String(port)], { REFOLD_PORT: '1' }), refusal('--port'), 'named as it was given')
})
