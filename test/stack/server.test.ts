import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { freePort, HOST } from '../../stack/ports.ts'
import { end, launch } from '../../stack/process.ts'
import { PortTaken, untilAnswers } from '../../stack/server.ts'

async function start(test: Test, script: string) {
  const folder = test.testdir()
  const server = await launch({ command: process.execPath, args: ['-e', script], log: path.join(folder, 'log'), cwd: folder })
  test.teardown(() => end(server, 'SIGKILL', 1000))
  return server
}

async function listen(test: Test): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  test.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const yes = () => Promise.resolve(true)

t.test('an answer from somebody else’s server is not taken for ours', async (t) => {
  const port = await listen(t)
  const process = await start(t, 'setTimeout(() => 0, 200)')
  await t.rejects(untilAnswers({ name: 'redis', process, ports: [port], answers: yes }), new PortTaken(`${port}`))
})

t.test('a second port that was taken meanwhile is named', async (t) => {
  const second = await listen(t)
  const process = await start(t, 'process.exit(1)')
  await t.rejects(
    untilAnswers({ name: 'kafka', process, ports: [await freePort(21_000, new Set()), second], answers: () => Promise.resolve(false) }),
    {
      message: `${second}`,
    },
  )
})

t.test('a server that ends while starting is reported with the end of its log', async (t) => {
  const process = await start(t, 'console.log("cannot read my settings"); process.exit(1)')
  const failure = { code: 'stack-failed', message: /redis ended while starting.*cannot read my settings.*stack logs/s }
  await t.rejects(untilAnswers({ name: 'redis', process, ports: [await freePort(21_000, new Set())], answers: yes }), failure)
})

t.test('a server is up once it listens itself and answers', async (t) => {
  const port = await freePort(20_000, new Set())
  const process = await start(t, `require('net').createServer().listen(${port}, '${HOST}')`)
  let asked = 0
  await untilAnswers({ name: 'redis', process, ports: [port], answers: () => Promise.resolve(++asked > 2) })
  t.equal(asked, 3)
})
