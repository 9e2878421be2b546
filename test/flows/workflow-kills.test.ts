// A seeded slice of the soak (npm run soak): random programs while recorder, runtimes and workers die.

import path from 'node:path'
import t from 'tap'
import { FAULT_POINTS } from '../../faults.ts'
import { runWorkflows } from '../soak/workflows.ts'
import { useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

/** So many of the recorder's points; the soak carries out all of them. */
const RECORDER_POINTS = 3

t.test('random programs end as they must, though every process dies again and again', { timeout: 600_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const { env, database } = await useInstallation(t, stack, 'token=tenant')
  const report = await runWorkflows({
    // Odd: recorder, runtimes, workers and a notifier share processes.
    seed: 20_261_127,
    executions: 150,
    kills: 8,
    // A recorder that dies makes the rest wait: with all its points this takes 80 s more.
    recorderPoints: RECORDER_POINTS,
    env,
    databaseUrl: database.url,
    faultLog: path.join(t.testdir(), 'faults'),
    say: (line) => t.comment(line),
  })
  t.equal(report.shape, 'together')
  t.strictSame(report.faults.slice(0, 10), [])
  for (const point of FAULT_POINTS.filter((one) => one.startsWith('runtime:') || one.startsWith('worker:')))
    t.ok(report.points.includes(point), `killed at ${point}`)
  const ofRecorder = report.points.filter((point) => point.startsWith('recorder:'))
  t.equal(ofRecorder.length, RECORDER_POINTS, `killed at ${ofRecorder.join(', ')}`)
  t.comment(JSON.stringify(report))
})
