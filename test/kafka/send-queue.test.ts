import t from 'tap'
import { BATCH_BYTES, SendQueue, sizeOf } from '../../kafka/send-queue.ts'
import type { Waiting } from '../../kafka/send-queue.ts'

type Caller = { key: string; outcome: string }

/** Puts records into the queue; the callers tell how it went. */
function fill(queue: SendQueue, keys: readonly string[], { bytes = 100, deadline = 1000 } = {}): Caller[] {
  return keys.map((key) => {
    const caller: Caller = { key, outcome: 'waits' }
    const waiting: Waiting = {
      record: { topic: 't', partition: 0, key, value: Buffer.alloc(0) },
      bytes,
      deadline,
      resolve: ({ offset }) => (caller.outcome = `at ${offset}`),
      reject: (error) => (caller.outcome = error.message),
    }
    queue.push(waiting)
    return caller
  })
}

const keysOf = (queue: SendQueue) => queue.take().entries.map(({ record }) => record.key)
const outcomes = (callers: readonly Caller[]) => callers.map(({ outcome }) => outcome)

t.test('Q1: records leave in the order in which they came, cut by bytes', async (t) => {
  const queue = new SendQueue('t', 0)
  const callers = fill(queue, ['a', 'b', 'c'], { bytes: BATCH_BYTES / 2 })
  t.strictSame(keysOf(queue), ['a', 'b'])
  t.notOk(queue.ready, 'nothing leaves while a batch is in flight')
  queue.acknowledged(7, 1)
  t.strictSame(keysOf(queue), ['c'])
  queue.acknowledged(9, 1)
  t.strictSame(outcomes(callers), ['at 7', 'at 8', 'at 9'])
  t.ok(queue.empty)
})

t.test('a record larger than a batch leaves alone', async (t) => {
  const queue = new SendQueue('t', 0)
  fill(queue, ['a'], { bytes: 10 })
  fill(queue, ['large'], { bytes: BATCH_BYTES * 2 })
  fill(queue, ['b'], { bytes: 10 })
  for (const expected of [['a'], ['large'], ['b']]) {
    t.strictSame(keysOf(queue), expected)
    queue.acknowledged(0, 1)
  }
})

t.test('Q2: after an unknown outcome the same records go first, unchanged', async (t) => {
  const queue = new SendQueue('t', 0)
  const callers = fill(queue, ['a', 'b'])
  queue.take()
  callers.push(...fill(queue, ['c']))
  queue.failed('unknown')
  t.strictSame(keysOf(queue), ['a', 'b'])
  queue.failed('unknown')
  t.strictSame(keysOf(queue), ['a', 'b'])
  queue.acknowledged(4, 1)
  t.strictSame(keysOf(queue), ['c'])
  queue.acknowledged(6, 1)
  t.strictSame(outcomes(callers), ['at 4', 'at 5', 'at 6'])
})

t.test('Q3: a refusal fails the one record that causes it', async (t) => {
  const queue = new SendQueue('t', 0)
  const callers = fill(queue, ['a', 'b', 'large', 'c', 'd'])
  let offset = 0
  while (queue.ready) {
    const keys = keysOf(queue)
    if (keys.includes('large')) queue.refused(new Error('too large'))
    else {
      queue.acknowledged(offset, 1)
      offset += keys.length
    }
  }
  t.strictSame(outcomes(callers), ['at 0', 'at 1', 'too large', 'at 2', 'at 3'])
})

t.test('Q4: at the deadline all callers of the partition fail together', async (t) => {
  const queue = new SendQueue('t', 0)
  const callers = [...fill(queue, ['a'], { deadline: 10 }), ...fill(queue, ['b'], { deadline: 20 })]
  t.equal(queue.deadline, 10)
  queue.giveUp(new Error('given up'))
  t.strictSame(outcomes(callers), ['given up', 'given up'])
  t.ok(queue.empty, 'what was never sent is gone')
})

t.test('Q4: what may have been written is sent again without its callers, before anything else', async (t) => {
  const queue = new SendQueue('t', 0)
  fill(queue, ['a'])
  queue.take()
  queue.failed('unknown')
  queue.giveUp(new Error('given up'))
  fill(queue, ['b'])
  t.strictSame(keysOf(queue), ['a'])
  queue.acknowledged(0, 1)
  t.strictSame(keysOf(queue), ['b'])
})

t.test('a size counts what headers and the format add', async (t) => {
  const bare = { topic: 't', partition: 0, key: 'ü', value: Buffer.alloc(100) }
  t.ok(sizeOf(bare) >= 102)
  t.ok(sizeOf({ ...bare, headers: { name: 'value' } }) >= sizeOf(bare) + 9)
})
