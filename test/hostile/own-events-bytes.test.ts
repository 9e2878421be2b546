// The bytes of a decision are kept as long as its event, and its execution's replay keeps that: for each execution in memory.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { createOwnEvents } from '../../consumers/own-events.ts'
import { event } from '../support/events.ts'

t.test('what was read back is kept no longer, whoever keeps the event', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const own = createOwnEvents()
  const one = event()
  const bytes = ((): WeakRef<Buffer> => {
    const made = Buffer.alloc(1_000_000)
    own.writing(one, 0, made)
    own.written(one, { partition: 0, offset: 0 })
    own.take({ partition: 0, offset: 0, value: made })
    return new WeakRef(made)
  })()
  await new Promise((resolve) => setTimeout(resolve, 10))
  gc()
  t.equal(bytes.deref(), undefined)
  t.ok(one)
})
