// The launcher and the command line, as a person meets them: in a process of their own.

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

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
