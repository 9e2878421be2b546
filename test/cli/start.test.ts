// How `refold start` ends: before it runs, with something that does not end, with something left open.

import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { down, running } from '../../stack/stack.ts'
import { until } from '../support/wait.ts'

const CLI = path.join(import.meta.dirname, '..', '..', 'cli')

/** Ended with the test, if it has not ended by then. */
function node(t: Test, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [...args], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const said = { text: '' }
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said.text += text))
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', resolve)
  })
  return { child, said, ended }
}

const NOBODY = '127.0.0.1:9'
const AWAY = {
  KAFKA_BROKERS: NOBODY,
  SCHEMA_REGISTRY_URL: `http://${NOBODY}`,
  DATABASE_URL: `postgres://nobody@${NOBODY}/none`,
  REDIS_URL: `redis://${NOBODY}`,
  REFOLD_API_TOKENS: 'token=tenant',
}

t.test('told to stop while it waits for its servers, it ends well and soon', { timeout: 60_000 }, async (t) => {
  const { child, said, ended } = node(t, [path.join(CLI, 'main.ts'), 'start', '--roles', 'api,recorder', '--port', '0'], {
    ...AWAY,
    REFOLD_STACK: t.testdir(),
  })
  await until(() => said.text.includes('not yet, trying again'), { within: 30_000, what: 'it to wait' })
  const began = performance.now()
  child.kill('SIGTERM')
  t.equal(await ended, 0, said.text)
  t.ok(performance.now() - began < 10_000)
  t.match(said.text, /stopped before all roles ran/)
})

t.test('so does the demo', { timeout: 60_000 }, async (t) => {
  const folder = t.testdir()
  const { child, said, ended } = node(t, [path.join(CLI, 'main.ts'), 'demo'], { ...AWAY, REFOLD_PORT: '0', REFOLD_STACK: folder })
  const log = () => readFile(path.join(folder, 'logs', 'refold.log'), 'utf8').catch(() => '')
  await until(async () => (await log()).includes('not yet, trying again'), { within: 30_000, what: 'it to wait' })
  const began = performance.now()
  child.kill('SIGTERM')
  t.equal(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 15_000, 'runs on').unref())]), 0, said.text)
  t.ok(performance.now() - began < 10_000)
  t.match(said.text, /Ending what was started here\.\n$/)
})

t.test('of two demos in one clone, the one that ends first leaves the other its servers', { timeout: 90_000 }, async (t) => {
  const folder = t.testdir()
  const env = { ...AWAY, REDIS_URL: '', REFOLD_PORT: '0', REFOLD_STACK: folder }
  t.teardown(() => down(folder, () => undefined))
  const demo = async () => {
    const started = node(t, [path.join(CLI, 'main.ts'), 'demo'], env)
    await until(() => /redis is up at|all up already/.test(started.said.text), { within: 30_000, what: 'the demo to have Redis' })
    return started
  }
  const [first, second] = [await demo(), await demo()]
  t.match(second.said.text, /all up already; they end with the last that uses them/)
  first.child.kill('SIGTERM')
  t.equal(await first.ended, 0, first.said.text)
  t.match(first.said.text, new RegExp(`process ${second.child.pid} still uses the servers`))
  t.ok(running(folder).redis)
  second.child.kill('SIGTERM')
  t.equal(await second.ended, 0, second.said.text)
  t.match(second.said.text, /redis is down/)
})

const ending = (body: string) => [
  '--input-type=module',
  '-e',
  `import { endWithin } from ${JSON.stringify(path.join(CLI, 'signals.ts'))}; setInterval(() => 0, 1000); ${body}; console.log('over')`,
]

t.test('what does not end in time does not keep the process', async (t) => {
  const { said, ended } = node(t, ending(`await endWithin(100, new Promise(() => 0), () => console.log('late'))`))
  t.equal(await ended, 0)
  t.equal(said.text, 'late\n')
})

t.test('nor does what a library leaves open', async (t) => {
  const { said, ended } = node(t, ending(`await endWithin(60_000, Promise.resolve(), () => console.log('late'))`))
  t.equal(await ended, 0)
  t.equal(said.text, 'over\n')
})

t.test('an end that fails is told, and keeps the process no longer', async (t) => {
  const told = `.catch((error) => { console.log(error.message); process.exitCode = 1 })`
  const { said, ended } = node(t, ending(`await endWithin(600_000, Promise.reject(new Error('no')), () => console.log('late'))${told}`))
  t.equal(await ended, 1)
  t.equal(said.text, 'no\nover\n')
})
