// A process appends to all partitions (REST, runtime) and its recorder reads some: what is kept of the others is bounded by number only.

import t from 'tap'
import { createOwnEvents } from '../../consumers/own-events.ts'
import { event } from '../support/events.ts'

t.test('events that nobody here reads back do not fill the memory', async (t) => {
  const own = createOwnEvents()
  const before = process.memoryUsage()
  // 4 of e.g. 24 partitions, whose recorder is another process; payloads of 100 kB, of at most 1 MB.
  for (let partition = 0; partition < 4; partition++)
    for (let offset = 0; offset < 2000; offset++) {
      const one = event({ payload: JSON.stringify({ n: offset, text: 'x'.repeat(100_000) }) })
      const bytes = Buffer.allocUnsafe(100_100).fill(offset & 255)
      own.writing(one, partition, bytes)
      own.written(one, { partition, offset })
    }
  globalThis.gc?.()
  const after = process.memoryUsage()
  const mb = (after.heapUsed + after.external - before.heapUsed - before.external) / 1e6
  t.ok(mb < 200, `${Math.round(mb)} MB are kept`)
  t.equal(own.take({ partition: 9, offset: 0, value: null }), undefined)
})
