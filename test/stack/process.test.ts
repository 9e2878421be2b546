import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { end, launch, runs } from '../../stack/process.ts'

const node = (t: { testdir(): string; teardown(run: () => unknown): void }, script: string) => {
  const folder = t.testdir()
  const log = path.join(folder, 'logs', 'x.log')
  return { log, start: () => launch({ command: process.execPath, args: ['-e', script], log, cwd: folder }) }
}

t.test('a process that heeds its signal ends in order', async (t) => {
  const { log, start } = node(
    t,
    `process.on('SIGTERM', () => { console.log('ends'); process.exit() }); setInterval(() => 0, 1000); console.log('begun')`,
  )
  const server = await start()
  t.ok(runs(server))
  while (!readFileSync(log, 'utf8').includes('begun')) await new Promise(setImmediate)
  await end(server, 'SIGTERM', 10_000)
  t.notOk(runs(server))
  t.equal(readFileSync(log, 'utf8'), 'begun\nends\n')
})

t.test('a process that does not heed its signal is killed', async (t) => {
  const { log, start } = node(t, `process.on('SIGTERM', () => 0); setInterval(() => 0, 1000); console.log('begun')`)
  const server = await start()
  while (!readFileSync(log, 'utf8').includes('begun')) await new Promise(setImmediate)
  await end(server, 'SIGTERM', 100)
  t.notOk(runs(server))
})

t.test('S1: a process with the pid but not the start time of ours is not touched', async (t) => {
  const { start } = node(t, 'setInterval(() => 0, 1000)')
  const server = await start()
  await end({ pid: server.pid, mark: '1' }, 'SIGKILL', 1000)
  t.ok(runs(server))
  await end(server, 'SIGKILL', 1000)
})

t.test('a command that does not exist is refused', async (t) => {
  const folder = t.testdir()
  await t.rejects(launch({ command: 'no-such-command', args: [], log: path.join(folder, 'log'), cwd: folder }), { code: 'stack-failed' })
})
