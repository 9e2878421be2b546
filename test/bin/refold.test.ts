// The launcher and the command line, as a person meets them: in a process of their own.

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startFakeIntake } from '../cli/import/fake-intake.ts'
import { until } from '../support/wait.ts'

const LAUNCHER = path.join(import.meta.dirname, '..', '..', 'bin', 'refold.js')

function refold(
  args: readonly string[],
  env: Record<string, string> = {},
  onStdout: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => undefined,
) {
  const child = spawn(process.execPath, [LAUNCHER, ...args], { env: { ...process.env, REFOLD_LOG_LEVEL: 'info', ...env } })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
    onStdout(out, (signal) => child.kill(signal))
  })
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, out, err })),
  )
}

t.test('--help names the commands on stdout, exit code 0', async (t) => {
  const { code, out, err } = await refold(['--help'])
  t.equal(code, 0)
  t.match(out, /stack/)
  t.match(out, /start/)
  t.notMatch(out, /\bdev\b/, 'the developer commands are hidden')
  t.equal(err, '')
})

t.test('what is not understood is answered with near names on stderr, exit code 2', async (t) => {
  const { code, out, err } = await refold(['stack', 'upp'])
  t.equal(code, 2)
  t.equal(out, '')
  t.match(err, /upp.*\n.*up\?/)
})

t.test('an error is one message with what to do and without a stack trace, exit code 1', async (t) => {
  const { code, err } = await refold(['stack', 'logs', 'redis'], { REFOLD_STACK: t.testdir() })
  t.equal(code, 1)
  t.match(err, /^refold: .*redis was never started here.*stack up.*\n$/)
})

t.test('a folder of the stack that cannot be written is no mistake in Refold', async (t) => {
  const folder = path.join(t.testdir({ file: '' }), 'file', 'stack')
  for (const args of [
    ['stack', 'up', 'redis'],
    ['stack', 'down'],
    ['demo', '--once'],
  ]) {
    const { code, err } = await refold(args, { REFOLD_STACK: folder, REDIS_URL: '' })
    t.equal(code, 1)
    t.match(
      err,
      /^refold: The files of the local stack cannot be written: ENOTDIR.*its folder: .*REFOLD_STACK names another/,
      args.join(' '),
    )
    t.notMatch(err, /this is a mistake/)
  }
})

t.test('with REFOLD_LOG_LEVEL=debug its stack trace follows', async (t) => {
  const { err } = await refold(['stack', 'logs', 'redis'], { REFOLD_STACK: t.testdir(), REFOLD_LOG_LEVEL: 'debug' })
  t.match(err, /at .*logs\.ts/)
})

t.test('without Maven the one message says what to type', async (t) => {
  const env = { REFOLD_STACK: t.testdir(), XDG_CACHE_HOME: path.join(t.testdirName, 'cache'), PATH: '/nowhere', KAFKA_BROKERS: '' }
  const { code, err } = await refold(['stack', 'up', 'kafka'], env)
  t.equal(code, 1)
  t.match(err, /Maven \(mvn\) is not on PATH.*apt-get install maven/)
})

t.test('a signal reaches the command, and its end is the launcher’s exit code', async (t) => {
  const folder = t.testdir({ logs: {} })
  writeFileSync(path.join(folder, 'logs', 'redis.log'), 'ready\n')
  const { code, out } = await refold(['stack', 'logs', '--follow', 'redis'], { REFOLD_STACK: folder }, (text, kill) => {
    if (text.includes('ready')) kill('SIGTERM')
  })
  t.equal(out, 'ready\n')
  t.equal(code, 143)
})

t.test('a process ends when its launcher was killed, which can hand no signal on', { timeout: 20_000 }, async (t) => {
  const env = {
    KAFKA_BROKERS: '127.0.0.1:9',
    SCHEMA_REGISTRY_URL: 'http://127.0.0.1:9',
    DATABASE_URL: 'postgres://127.0.0.1:9/x',
    REDIS_URL: 'redis://127.0.0.1:9',
    REFOLD_API_TOKENS: 'secret=tenant-a',
    REFOLD_STACK: t.testdir(),
  }
  let pid = 0
  // `close` is when nobody has its stdout any more: the process itself has ended.
  const ended = await refold(['start', '--roles', 'recorder'], env, (text, kill) => {
    if (pid > 0) return
    pid = Number(/"pid":(\d+)/.exec(text)?.[1] ?? 0)
    if (pid > 0) kill('SIGKILL')
  })
  t.ok(pid > 0)
  t.equal(ended.code, null)
})

for (const shell of [false, true])
  t.test(
    `a command that npm runs${shell ? ' in a shell' : ''} ends when npm is killed, which hands no signal on`,
    { timeout: 20_000 },
    async (t) => {
      const folder = t.testdir({ logs: {} })
      writeFileSync(path.join(folder, 'logs', 'redis.log'), 'ready\n')
      const env = { ...process.env, REFOLD_STACK: folder, npm_lifecycle_event: 'refold' }
      // In npm's place: a process that runs the launcher. The second command keeps the shell from becoming the first.
      const command = `"${process.execPath}" "${LAUNCHER}" stack logs --follow redis; true`
      const run = shell ? `spawn('sh', ['-c', ${JSON.stringify(command)}]` : 'spawn(process.execPath, process.argv.slice(1)'
      const npm = spawn(
        process.execPath,
        ['-e', `require('node:child_process').${run}, { stdio: 'inherit' })`, LAUNCHER, 'stack', 'logs', '--follow', 'redis'],
        { env, stdio: ['ignore', 'pipe', 'inherit'] },
      )
      npm.stdout.once('data', () => npm.kill('SIGKILL'))
      // When nobody has its stdout any more.
      await new Promise((resolve) => npm.once('close', resolve))
      t.pass('all have ended')
    },
  )

/** Signals further apart than that are two; and what looks for a launcher or npm that is gone has looked. Both of cli/signals.ts, ms. */
const APART = 700
const LOOKED = 1500

/** In a process group of its own: an import in the middle of its end, which it has only once `answer` was called. */
async function importInFlight(t: Test, command: readonly string[], env: Record<string, string>) {
  const answered = Promise.withResolvers<void>()
  const api = await startFakeIntake({ hold: () => answered.promise })
  const [k, at] = [{ column: 'k' }, { column: 'at', format: 'epoch-ms' }]
  const map = { workflow_name: 'w', business_key: k, event_name: 'e', created_at: at, idempotency_key: k }
  const folder = t.testdir({ 'map.json': JSON.stringify(map), 'rows.csv': 'k,at\n1,1\n' })
  const child = spawn(
    process.execPath,
    [...command, LAUNCHER, 'import', path.join(folder, 'rows.csv'), '--map', path.join(folder, 'map.json')],
    { detached: true, env: { ...process.env, REFOLD_API_URL: api.url, REFOLD_API_TOKEN: 'secret', ...env } },
  )
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  // When nobody has its stdout any more.
  const closed = new Promise((resolve) => child.once('close', resolve))
  t.teardown(async () => {
    answered.resolve()
    await closed
    await api.close()
  })
  await until(() => api.requests === 1, { within: 20_000, what: () => `a request in flight: ${err}` })
  const kill = (signal: NodeJS.Signals, who: 'itself' | 'group') => process.kill((who === 'group' ? -1 : 1) * (child.pid ?? 0), signal)
  const summary = async () => {
    answered.resolve()
    await closed
    return out
  }
  return { child, kill, summary, told: () => until(() => err.includes('Finishing the requests in flight'), { what: 'it to be told' }) }
}

t.test(
  'a command that was told to stop, as npm was, ends in its own order: npm that goes is no second signal',
  { timeout: 40_000 },
  async (t) => {
    // In npm's place. It goes so late that a signal sent because of that would be a second one each time, not one time in two.
    const npm = `process.once('SIGTERM', () => setTimeout(() => process.exit(), ${APART}))
    require('node:child_process').spawn(process.execPath, process.argv.slice(1), { stdio: 'inherit' })`
    const { child, kill, summary, told } = await importInFlight(t, ['-e', npm], { npm_lifecycle_event: 'refold' })
    const gone = new Promise((resolve) => child.once('exit', resolve))
    kill('SIGTERM', 'group')
    await told()
    await gone
    await pause(LOOKED)
    t.match(await summary(), 'Run the same command to go on')
  },
)

t.test('nor is a launcher that is killed after it handed its signal on', { timeout: 40_000 }, async (t) => {
  const { kill, summary, told } = await importInFlight(t, [], {})
  kill('SIGTERM', 'itself')
  await told()
  await pause(APART)
  kill('SIGKILL', 'itself')
  await pause(LOOKED)
  t.match(await summary(), 'Run the same command to go on')
})
