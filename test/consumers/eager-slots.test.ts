// Which attempts are handed over in a process, past the actions topic.

import t from 'tap'
import { createEagerSlots, type EagerSlotsOptions } from '../../consumers/eager-slots.ts'
import { until } from '../support/wait.ts'

const attempt = (n: number, name = 'short', key = `a${n}`) => ({
  action_id: `a${n}`,
  tenant: 't',
  execution_id: 'e',
  action: n,
  attempt: 1,
  name,
  key,
})

function slotsWith(options: Partial<EagerSlotsOptions> = {}) {
  const told: string[] = []
  const slots = createEagerSlots({
    spare: 1,
    memory: { expect: ({ key }) => void told.push(`expects ${key}`), unexpect: ({ key }) => void told.push(`not ${key}`) },
    isFull: () => false,
    isRunning: () => false,
    isOwn: () => true,
    ...options,
  })
  slots.took('short', 2)
  return { slots, told }
}

t.test('G2: what this process would read itself needs no slot', async (t) => {
  const { slots } = slotsWith({ isOwn: (actionId) => actionId !== 'a9' && actionId !== 'a8' })
  for (let n = 1; n <= 5; n++) t.ok(slots.take(attempt(n), null), `own ${n}`)
  t.ok(slots.take(attempt(9), null), 'another one’s has the spare slot, which own ones leave alone')
  t.notOk(slots.take(attempt(8), null), 'and no more than that')
  slots.release(attempt(1))
  t.notOk(slots.take(attempt(8), null), 'an own one that ends frees none')
  slots.release(attempt(9))
  t.ok(slots.take(attempt(8), null))
})

t.test('G2: only while there is room, and where anything is handed over at all', async (t) => {
  let isFull = false
  const { slots } = slotsWith({ isFull: () => isFull })
  isFull = true
  t.notOk(slots.take(attempt(1), null))
  isFull = false
  t.ok(slots.take(attempt(1), null))
  const none = slotsWith({ spare: 0 }).slots
  none.keep(attempt(1), null)
  t.notOk(none.take(attempt(1), null))
})

t.test('G3: only an action that usually takes a moment', async (t) => {
  const { slots } = slotsWith()
  const mayGo = (n: number, name: string) => slots.take(attempt(n, name), null)
  t.ok(mayGo(1, 'new'), 'what is not known has the spare slot')
  t.notOk(mayGo(2, 'new'), 'and no other')
  slots.took('new', 10)
  t.ok(mayGo(2, 'new'), 'it is short')
  slots.took('new', 60_000)
  t.notOk(mayGo(3, 'new'), 'it is not any more')
  for (let i = 0; i < 40; i++) slots.took('new', 10)
  t.ok(mayGo(3, 'new'), 'and is again')
})

t.test('G5: a place is kept for what is about to be scheduled, and Redis is asked', async (t) => {
  const { slots, told } = slotsWith()
  slots.keep(attempt(1), null)
  slots.keep(attempt(2), null)
  t.equal(slots.kept, 2)
  t.strictSame(told, ['expects a1', 'expects a2'])
  t.ok(slots.take(attempt(1), null))
  t.ok(slots.take(attempt(2, 'short', 'other'), null), 'of the same number, with another key')
  t.strictSame(told.splice(2), ['not a2'])
  t.equal(slots.kept, 0)
  slots.keep(attempt(3), null)
  await until(() => slots.kept === 0, { what: 'the place to be given up' })
  t.strictSame(told.slice(2), ['expects a3', 'not a3'])
})

t.test('an attempt that is asked for again while it runs has its place, and gives back what was kept for it once more', async (t) => {
  const { slots } = slotsWith({ isOwn: () => false, spare: 2 })
  t.ok(slots.take(attempt(1), null))
  slots.keep(attempt(1), null)
  t.ok(slots.take(attempt(1), null))
  t.ok(slots.take(attempt(2), null), 'the second slot')
  t.notOk(slots.take(attempt(3), null))
  slots.release(attempt(1))
  slots.release(attempt(1))
  t.ok(slots.take(attempt(3), null))
  t.notOk(slots.take(attempt(4), null), 'released twice is released once')
})
