// Redis flushed every second, and away: nothing that must survive is in it.

import path from 'node:path'
import t from 'tap'
import { runWorkflows } from '../soak/workflows.ts'
import { doorTo } from '../support/door.ts'
import { useFlows } from '../support/flows.ts'
import { useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

t.test('Redis flushed every second: all programs end right, and the cache and locks were used', { timeout: 300_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const { env, database } = await useInstallation(t, stack, 'token=tenant')
  const report = await runWorkflows({
    seed: 5,
    executions: 150,
    kills: 0,
    flush: true,
    env,
    databaseUrl: database.url,
    faultLog: path.join(t.testdir(), 'faults'),
    say: (line) => t.comment(line),
  })
  t.strictSame(report.faults.slice(0, 10), [])
  t.ok(report.flushed >= 3, `flushed ${report.flushed} times`)
  t.ok((report.tally['cached'] ?? 0) > 0, `${report.tally['cached']} cache hits`)
  t.ok((report.tally['locks'] ?? 0) > 100, `${report.tally['locks']} locks taken`)
  t.comment(JSON.stringify(report))
})

t.setTimeout(600_000)

/** How long Redis is away, ms. */
const AWAY = Number(process.env['REFOLD_TEST_REDIS_AWAY'] ?? 6000)

t.test('Redis away: attempts run without it, and go on with it when it is back', { timeout: 240_000 }, async (t) => {
  const stack = useStack(t, ['redis'])
  if (!stack.redisUrl) return
  const door = await doorTo(stack.redisUrl)
  t.teardown(() => door.close())
  const flows = await useFlows(t, { REDIS_URL: door.url })
  if (!flows) return
  const { start, ended } = flows
  await flows.process('runtime,worker', { REFOLD_EAGER_SLOTS: '0' })
  t.match(await ended(await start('fan', { width: 5, ms: 0 })), { status: 'completed' })
  // Some are in the middle of their actions when it goes, others start while it is away.
  const begun = await Promise.all(Array.from({ length: 60 }, () => start('fan', { width: 5, ms: 300 })))
  door.shut()
  const gone = performance.now()
  let meanwhile = 0
  const loop = async () => {
    while (performance.now() - gone < AWAY) {
      const one = await start('fan', { width: 5, ms: 0 })
      begun.push(one)
      t.match(await ended(one, 60_000), { status: 'completed', result: 5 })
      meanwhile++
    }
  }
  await Promise.all([loop(), loop(), loop(), loop()])
  t.ok(meanwhile >= 10, `${meanwhile} executions began and ended in ${AWAY} ms without Redis`)
  await door.open()
  for (const one of begun) t.match(await ended(one, 60_000), { status: 'completed', result: 5 })
  t.comment(`${begun.length} executions, all right`)
  t.match(await ended(await start('fan', { width: 5, ms: 0 })), { status: 'completed' })
})
