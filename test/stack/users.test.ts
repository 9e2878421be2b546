// S5: servers that were started for their users, with Redis, the quickest of them.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { down, running, up, use } from '../../stack/stack.ts'
import { ownFolder } from '../support/own-stack.ts'
import { until } from '../support/wait.ts'

const ROOT = path.join(import.meta.dirname, '..', '..')
const quiet = () => undefined

const start = (folder: string, lent: boolean) => up({ folder, say: quiet, env: {}, kinds: ['redis'], lent })

t.test('they end with the last user, whoever started them', async (t) => {
  const folder = ownFolder(t)
  const said: string[] = []
  const leaves = [await use(folder, (line) => said.push(line)), await use(folder, quiet)]
  t.same(await start(folder, true), ['redis'])
  t.same(await start(folder, true), [])
  await leaves[0]!()
  t.ok(running(folder).redis)
  t.match(said, [new RegExp(`process ${process.pid} still uses`)])
  await leaves[1]!()
  t.same(running(folder), {})
  t.same(readdirSync(path.join(folder, 'users')), [])
})

t.test('a user that was killed counts no longer, nor one whose pid is somebody else’s now', async (t) => {
  const folder = ownFolder(t)
  const code = `import { up, use } from ${JSON.stringify(path.join(ROOT, 'stack', 'stack.ts'))}
    const folder = ${JSON.stringify(folder)}
    await use(folder, () => {})
    await up({ folder, say() {}, env: {}, kinds: ['redis'], lent: true })
    setInterval(() => 0, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => running(folder).redis !== undefined, { within: 30_000, what: 'Redis to run' })
  const leave = await use(folder, quiet)
  await start(folder, true)
  child.kill('SIGKILL')
  await once(child, 'close')
  writeFileSync(path.join(folder, 'users', `${process.ppid}-1`), `${process.ppid} 1`)
  t.ok(running(folder).redis)
  await leave()
  t.same(running(folder), {})
})

t.test('what `stack up` started, or was told to start, stays', async (t) => {
  const folder = ownFolder(t)
  await start(folder, false)
  const first = await use(folder, quiet)
  t.same(await start(folder, true), [])
  await first()
  t.ok(running(folder).redis, 'it was there before')
  await down(folder, quiet)
  const second = await use(folder, quiet)
  await start(folder, true)
  t.same(await start(folder, false), [])
  await second()
  t.ok(running(folder).redis, 'it was asked for meanwhile')
})
