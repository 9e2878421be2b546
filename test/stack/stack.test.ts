// The stack itself, with its two quick servers, in a folder of its own.

import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { Redis } from 'ioredis'
import { Client } from 'pg'
import t from 'tap'
import { end, launch, runs } from '../../stack/process.ts'
import { down, status, up } from '../../stack/stack.ts'
import { readSecrets, readState, writeState } from '../../stack/state.ts'
import { ownFolder } from '../support/own-stack.ts'

const quiet = () => undefined

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

t.test('a stack with all usual ports taken', async (t) => {
  const folder = ownFolder(t)
  for (const port of [5432, 6379]) {
    // Taken already (by another stack, it may be) is as good as taken here.
    const server = createServer().once('error', quiet)
    server.listen(port, '127.0.0.1')
    t.teardown(() => server.close())
  }
  const started = await up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] })
  t.same(started.toSorted(), ['postgres', 'redis'])
  const first = readState(folder)

  t.test('takes the next free ones, and all servers answer', async (t) => {
    const rows = await status(folder, {})
    t.match(rows, [
      { name: 'postgres', state: 'up' },
      { name: 'redis', state: 'up' },
    ])
    t.notMatch(rows, [{ address: /:5432\// }, { address: /:6379$/ }])
    t.notMatch(JSON.stringify(rows), readSecrets(folder).databasePassword, 'no password where people look')
  })

  t.test('keeps its secrets to its owner', async (t) => {
    t.equal(statSync(path.join(folder, 'stack.json')).mode & 0o777, 0o600)
    t.equal(statSync(path.join(folder, 'secrets.json')).mode & 0o777, 0o600)
  })

  t.test('lets nobody into Postgres without the password', async (t) => {
    const url = new URL(first!.servers.postgres!.address)
    url.password = 'guess'
    await t.rejects(query(url.href, 'SELECT 1'), { code: '28P01' })
  })

  t.test('S3: up once more starts nothing', async (t) => {
    t.same(await up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] }), [])
    t.same(readState(folder), first)
  })

  t.test('a server that was killed is started again at its address, with its data; the other goes on', async (t) => {
    const { postgres, redis } = first!.servers
    await query(postgres!.address, 'CREATE TABLE kept AS SELECT 1 AS one')
    await end(postgres!, 'SIGKILL', 5000)
    t.match(await status(folder, {}), [
      { name: 'postgres', state: 'silent' },
      { name: 'redis', state: 'up' },
    ])
    t.same(await up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] }), ['postgres'])
    t.same(readState(folder)!.servers.redis, redis)
    t.same(await query(postgres!.address, 'SELECT one FROM kept'), [{ one: 1 }])
  })

  t.test('so it is when the machine was, and another process has the pid that Postgres left in its lock file', async (t) => {
    const { postgres } = readState(folder)!.servers
    await end(postgres!, 'SIGKILL', 5000)
    const isRoot = process.getuid?.() === 0
    const lock = path.join(isRoot ? `/var/tmp/refold-${readSecrets(folder).id}` : path.join(folder, 'data'), 'postgres', 'postmaster.pid')
    // Postgres asks whether it could signal that process, which it can those of its own user.
    const other = spawn('sleep', ['60'], isRoot ? { uid: statSync(lock).uid } : {})
    t.teardown(() => other.kill())
    writeFileSync(lock, readFileSync(lock, 'utf8').replace(/^\d+/, String(other.pid)))
    t.same(await up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] }), ['postgres'])
    t.same(await query(postgres!.address, 'SELECT one FROM kept'), [{ one: 1 }])
    t.equal(other.exitCode ?? other.signalCode, null)
  })

  t.test('down ends its servers and keeps their data, --erase does not', async (t) => {
    const { postgres, redis } = readState(folder)!.servers
    const asked = new Redis(redis!.address)
    await asked.set('letter', 'dead')
    asked.disconnect()
    t.same((await down(folder, quiet)).toSorted(), ['postgres', 'redis'])
    t.ok(existsSync(path.join(folder, 'data', 'redis', 'dump.rdb')), 'also what Redis had')
    t.same([runs(postgres!), runs(redis!), existsSync(path.join(folder, 'stack.json'))], [false, false, false])
    t.ok(existsSync(path.join(folder, 'secrets.json')))
    t.same(await down(folder, quiet, { erase: true }), [])
    t.notOk(existsSync(path.join(folder, 'secrets.json')))
  })
})

t.test('two stacks that start at once take no port from each other and no server for their own', async (t) => {
  const folders = [ownFolder(t), ownFolder(t)]
  await Promise.all(folders.map((folder) => up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] })))
  const states = folders.map((folder) => readState(folder)!.servers)
  t.equal(new Set(states.flatMap(({ postgres, redis }) => [postgres?.address, redis?.address])).size, 4)
  for (const { postgres, redis } of states) {
    t.ok(runs(postgres!) && runs(redis!))
    t.same(await query(postgres!.address, 'SELECT 1 AS one'), [{ one: 1 }])
  }
})

t.test('S1: down does not end a process that was not started here, though its pid is recorded', async (t) => {
  const folder = ownFolder(t)
  const other = await launch({ command: 'sleep', args: ['60'], log: path.join(folder, 'log'), cwd: folder })
  t.teardown(() => end(other, 'SIGKILL', 1000))
  const recorded = { address: 'redis://127.0.0.1:1', pid: other.pid, startedAt: '2026-01-01T00:00:00Z', mark: '1' }
  writeState(folder, { servers: { redis: recorded }, developmentToken: 'dev-x' })
  t.same(await down(folder, quiet), [])
  t.ok(runs(other))
})

t.test('S2: a server given by URL is not started', async (t) => {
  const folder = ownFolder(t)
  t.same(await up({ folder, say: quiet, env: { REDIS_URL: 'redis://127.0.0.1:1' }, kinds: ['redis'] }), [])
  t.match(await status(folder, { REDIS_URL: 'redis://u:hidden@127.0.0.1:1' }), [
    { name: 'redis', state: 'silent', pid: null, address: /\*\*\*/ },
  ])
})

t.test('S4: one server that fails is named, and those beside it are remembered', async (t) => {
  const folder = ownFolder(t)
  // initdb finds something else where its data should be.
  writeFileSync(path.join(folder, 'data'), '')
  const broken = process.getuid?.() === 0 ? 'redis' : 'postgres'
  await t.rejects(up({ folder, say: quiet, env: {}, kinds: ['postgres', 'redis'] }))
  t.notOk(readState(folder)?.servers[broken])
  t.ok(readFileSync(path.join(folder, 'stack.json'), 'utf8'))
})
