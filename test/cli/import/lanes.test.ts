import t from 'tap'
import { createLanes } from '../../../cli/import/lanes.ts'
import { until } from '../../support/wait.ts'

const { signal: stop } = new AbortController()

/** Sends that stay open until they are let go. */
function heldSends() {
  const open: { batch: string[]; letGo: () => void; fail: (error: Error) => void }[] = []
  const send = (batch: string[]) => new Promise<void>((letGo, fail) => open.push({ batch, letGo, fail }))
  return { open, send }
}

t.test('L1 rows of one execution are sent in order, never two requests of them at once', async (t) => {
  const inFlight = new Set<string>()
  const sent: string[] = []
  const lanes = createLanes<string>({
    lanes: 4,
    entries: 3,
    bytes: 1000,
    stop,
    async send(batch) {
      const executions = new Set(batch.map((entry) => entry.split(':')[0]!))
      for (const execution of executions) t.notOk(inFlight.has(execution), `${execution} is in flight once`)
      for (const execution of executions) inFlight.add(execution)
      await new Promise((resolve) => setImmediate(resolve))
      sent.push(...batch)
      for (const execution of executions) inFlight.delete(execution)
    },
  })
  for (let i = 0; i < 100; i++) await lanes.put(`e${i % 7}`, `e${i % 7}:${i}`, 1)
  await lanes.finish()
  t.equal(sent.length, 100)
  for (let e = 0; e < 7; e++) {
    const numbers = sent.filter((entry) => entry.startsWith(`e${e}:`)).map((entry) => Number(entry.split(':')[1]))
    t.same(
      numbers,
      numbers.toSorted((a, b) => a - b),
    )
  }
})

t.test('L2 put waits while a batch is in flight and the next is full', async (t) => {
  const { open, send } = heldSends()
  const lanes = createLanes({ lanes: 1, entries: 2, bytes: 1000, send, stop })
  for (const entry of ['a', 'b', 'c']) await lanes.put('e', entry, 1)
  t.same(
    open.map(({ batch }) => batch),
    [['a', 'b']],
  )
  let room = false
  const waiting = lanes.put('e', 'd', 1).then(() => (room = true))
  await new Promise((resolve) => setImmediate(resolve))
  t.notOk(room)
  open[0]!.letGo()
  await waiting
  t.same(open[1]!.batch, ['c', 'd'])
  open[1]!.letGo()
  await lanes.finish()
})

t.test('L2 a batch is cut by bytes too', async (t) => {
  const batches: string[][] = []
  const lanes = createLanes<string>({ lanes: 1, entries: 100, bytes: 10, stop, send: async (batch) => void batches.push(batch) })
  for (const [entry, size] of [
    ['a', 6],
    ['b', 6],
    ['c', 50],
    ['d', 1],
  ] as const)
    await lanes.put('e', entry, size)
  await lanes.finish()
  t.same(batches, [['a'], ['b'], ['c'], ['d']])
})

t.test('L3 after a failure nothing more is sent, and the failure is told', async (t) => {
  const { open, send } = heldSends()
  const lanes = createLanes({ lanes: 1, entries: 1, bytes: 1000, send, stop })
  await lanes.put('e', 'a', 1)
  open[0]!.fail(new Error('no'))
  await t.rejects(
    until(() => lanes.put('e', 'b', 1)),
    { message: 'no' },
  )
  await t.rejects(lanes.finish(), { message: 'no' })
  t.equal(open.length, 1)
})

t.test('drain waits for what is in flight and sends nothing else', async (t) => {
  const { open, send } = heldSends()
  const lanes = createLanes({ lanes: 1, entries: 2, bytes: 1000, send, stop })
  for (const entry of ['a', 'b', 'c']) await lanes.put('e', entry, 1)
  let drained = false
  const draining = lanes.drain().then(() => (drained = true))
  await new Promise((resolve) => setImmediate(resolve))
  t.notOk(drained)
  open[0]!.letGo()
  await draining
  t.equal(open.length, 1)
})
