// The soak must not hide a process that crashes: whoever is started in its place does the work.

import t from 'tap'
import { until } from '../support/wait.ts'
import { type End, endFault } from './ends.ts'
import { Kept } from './kept.ts'
import { killFaults } from './workflows.ts'

const end = (one: Partial<End>) =>
  endFault({ name: 'worker-1', code: null, signal: null, isStopped: false, isUp: true, tail: 'TypeError', ...one })

t.test('an end that nobody asked for is told, with the last that the process wrote', async (t) => {
  t.equal(end({ code: 1 }), 'worker-1 ended by itself with 1: TypeError')
  t.match(end({ code: 0 }), /by itself with 0/)
  t.match(end({ signal: 'SIGABRT' }), /by itself with SIGABRT/, 'V8 out of memory')
  t.match(end({ code: 1, isStopped: true }), /was stopped and ended with 1/)
  t.match(end({ signal: 'SIGTERM', isStopped: true }), /ended with SIGTERM/, 'one that ran did not drain')
})

t.test('kill -9, and the end of what was stopped, is none', async (t) => {
  t.equal(end({ signal: 'SIGKILL' }), undefined)
  t.equal(end({ signal: 'SIGKILL', isStopped: true }), undefined, 'at a fault point, while it drained')
  t.equal(end({ code: 0, isStopped: true }), undefined)
  t.equal(end({ signal: 'SIGTERM', isStopped: true, isUp: false }), undefined, 'it did not listen yet')
})

t.test('a kept process that ends by itself is started again, and that is a fault and no kill', async (t) => {
  // What waiting cannot mend ends a start.
  const kept = new Kept('worker-1', ['worker'], { ...process.env, REFOLD_PARTITIONS: 'none' })
  kept.start()
  t.teardown(() => kept.stop())
  await until(() => kept.faults.length >= 2, { within: 60_000, what: 'two ends' })
  t.match(kept.faults[0], /^worker-1 ended by itself with [1-9]\d*: [^]*REFOLD_PARTITIONS/)
  t.strictSame(kept.killed, [])
})

t.test('a kept process that is killed is started again, and that is a kill and no fault', async (t) => {
  const kept = new Kept('worker-1', ['worker'], { ...process.env, REFOLD_PARTITIONS: 'none' })
  kept.start()
  kept.kill()
  await until(() => kept.killed.length === 1, { what: 'its death' })
  await kept.stop()
  t.equal(kept.killed.length, 1)
  t.strictSame(kept.faults, [])
})

t.test('a thousand executions need sixty kills', async (t) => {
  t.strictSame(killFaults({ executions: 1000, killed: 60 }), [])
  t.match(killFaults({ executions: 1200, killed: 59 }), [/59 kills only/])
  t.strictSame(killFaults({ executions: 300, killed: 20 }), [], 'fewer may have fewer')
})
