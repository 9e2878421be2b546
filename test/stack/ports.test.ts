import { spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { freePort, HOST, listens } from '../../stack/ports.ts'

/** Listens on a free port of `host` until the test ends. */
async function listen(test: Test, host: string): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  test.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('a port that is taken on 127.0.0.1 is passed over for a later one', async (t) => {
  const taken = await listen(t, HOST)
  t.ok((await freePort(taken, new Set())) > taken)
})

t.test('a port that is taken on all addresses is passed over too', async (t) => {
  const taken = await listen(t, '0.0.0.0')
  t.ok((await freePort(taken, new Set())) > taken)
})

t.test('a free port is taken as it was asked for, and given once only', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const given = new Set<number>()
  t.equal(await freePort(port, given), port)
  t.not(await freePort(port, given), port)
})

t.test('a process listens on its own ports only, and not once it has ended', async (t) => {
  const port = await listen(t, HOST)
  t.ok(listens(process.pid, port))
  t.notOk(listens(process.ppid, port))
  const ended = spawnSync(process.execPath, ['--version'])
  t.notOk(listens(ended.pid, port))
})
