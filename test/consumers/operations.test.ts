// A promotion and the writes that it stops: none while the new generation is far behind, and never for a second. And a built
// generation that is parked: it is said, and nobody is held for it.

import t from 'tap'
import { createOperations, type Operation, type OperationStore } from '../../consumers/operations.ts'

const PROMOTING: Operation = {
  id: 'o',
  projection: 'p',
  kind: 'rollback',
  generation: 1,
  state: 'promoting',
  progress: {},
  comparison: null,
  wanted: null,
}

/** One partition; the new generation is even with the live one after so many tries. */
function world(behind: number, evenAfter: number, { live = 2, wanted = null }: { live?: number; wanted?: Operation['wanted'] } = {}) {
  const told = { tries: 0, state: 'promoting', stopped: 0, isHeld: false }
  let since = 0
  const never = () => Promise.reject(new Error('not asked in a promotion'))
  const store: OperationStore = {
    open: async () => [{ ...PROMOTING, wanted }],
    alone: (operation, step) => step(operation),
    update: async (_, { state }) => void (told.state = state ?? told.state),
    makeGeneration: never,
    dropGeneration: never,
    dropRetired: async () => [],
    isLive: async (_, generation) => generation === live,
    notComparable: never,
    compare: never,
    progress: async () => [{ partition: 0, next: 10_000 - behind, live: 10_000, recorded: 10_000, parked: null }],
    unfoldedVersion: async () => undefined,
    async hold(_, __, ___, stops) {
      const holds = [...stops.values()].some((stop) => stop !== null)
      if (holds && !told.isHeld) since = performance.now()
      if (!holds && told.isHeld) told.stopped = performance.now() - since
      told.isHeld = holds
    },
    promote: async () => (++told.tries > evenAfter ? 'promoted' : 'behind'),
  }
  const faults: string[] = []
  const operations = createOperations(store, (_, line) => void faults.push(line))
  return { told, faults, advance: operations.advance }
}

t.test('a generation that is far behind stops nobody', async (t) => {
  const { told, faults, advance } = world(5000, 0)
  await advance()
  t.match(told, { tries: 0, state: 'promoting', isHeld: false })
  t.strictSame(faults, [])
})

t.test('one that is near is waited for, in one step', async (t) => {
  const { told, advance } = world(20, 3)
  await advance()
  t.match(told, { tries: 4, state: 'done', isHeld: false })
  t.ok(told.stopped < 500, `${told.stopped} ms`)
})

t.test('one that does not come near lets writes go on before a second is over', async (t) => {
  const { told, advance } = world(20, Infinity)
  await advance()
  t.match(told, { state: 'promoting', isHeld: false })
  t.ok(told.stopped > 0 && told.stopped < 1000, `${told.stopped} ms`)
})

t.test('a promotion whose generation never comes near can be given up; one that has happened cannot', async (t) => {
  const stuck = world(5000, 0, { wanted: 'abort' })
  await stuck.advance()
  t.match(stuck.told, { tries: 0, state: 'aborted' })
  const promoted = world(0, 0, { wanted: 'abort', live: 1 })
  await promoted.advance()
  t.match(promoted.told, { state: 'done' })
})

/** Two partitions, of which the new generation may be parked in the second, behind the live one. */
function building(state: Operation['state'], progress: Operation['progress'] = {}) {
  const operation: Operation = { ...PROMOTING, kind: 'rebuild', generation: 2, state, progress }
  const told = { held: new Map<number, number | null>(), everHeld: 0, seen: [] as unknown[], lines: [] as string[] }
  const at = {
    parked: 7 as number | null,
    next: 7,
    isGone: false,
    unfolded: undefined as number | undefined,
    lag: 0,
    whileCompared: () => undefined as unknown,
  }
  const never = () => Promise.reject(new Error('not asked of a build'))
  const store: OperationStore = {
    open: async () => [operation],
    alone: (one, step) => step(structuredClone(one)),
    async update(_, { line, ...change }) {
      Object.assign(operation, change)
      if (line !== undefined) told.lines.push(line)
    },
    makeGeneration: never,
    dropGeneration: never,
    dropRetired: async () => [],
    isLive: async () => false,
    notComparable: async () => undefined,
    compare: async (_, __, partition, taken) => {
      if (partition === 1 && at.next < 9) return 'apart'
      await taken()
      at.whileCompared()
      return { partition, at: 9, live: 1, built: 1, differing: 0, shown: [] }
    },
    progress: async () =>
      at.isGone
        ? []
        : [
            { partition: 0, next: 9, live: 9, recorded: 9, parked: null },
            { partition: 1, next: at.next, live: 9, recorded: 9, parked: at.parked },
          ],
    unfoldedVersion: async () => at.unfolded,
    async hold(_, __, ___, stops) {
      for (const [partition, stop] of stops) {
        told.held.set(partition, stop)
        if (stop !== null) told.everHeld++
      }
    },
    promote: async () => 'behind',
  }
  const faults: string[] = []
  const { advance } = createOperations(
    store,
    (_, line) => void faults.push(line),
    async () => at.lag,
  )
  const heldNow = () => [...told.held.values()].filter((stop) => stop !== null)
  return { operation, told, at, faults, advance, heldNow }
}

t.test('O9: a build that backs off for live traffic says so, once, and when that is over', async (t) => {
  const { told, at, operation, advance } = building('building')
  Object.assign(at, { parked: null, lag: 6000 })
  await advance()
  t.match(operation, { state: 'building', progress: { behind: 6000 } })
  for (const lag of [7000, 4000, 6000]) {
    at.lag = lag
    await advance()
  }
  const slow = 'generation 2 is built slowly, to leave room for live traffic: what people read is 6000 records behind'
  t.strictSame(told.lines, [slow], 'not each time that the line is crossed')
  at.lag = 0
  await advance()
  t.strictSame(told.lines, [slow, 'generation 2 is built at full speed again'])
  Object.assign(at, { lag: 6000, next: 9 })
  await advance()
  t.match(operation, { state: 'comparing', progress: { behind: 0 } }, 'what is compared is built no longer')
})

t.test('O5: a build that is parked says where, once, is not caught up, and goes on by itself', async (t) => {
  const { operation, told, at, faults, advance } = building('building')
  for (let i = 0; i < 3; i++) await advance()
  t.match(operation, { state: 'building', progress: { parked: ['p1:7'], secondsLeft: null } })
  t.equal(told.lines.length, 1)
  t.match(told.lines[0], /generation 2 is parked at p1:7: see `refold incidents`.*projection skip p --reason.*abort p/)
  Object.assign(at, { parked: null, next: 9 })
  for (let i = 0; i < 3; i++) await advance()
  t.match(operation, { state: 'ready', progress: { parked: [] } })
  t.strictSame(told.lines.slice(1), ['generation 2 goes on from p1:7', 'caught up after 18 records', 'compared: 0 differing rows'])
  t.strictSame(faults, [])
})

t.test('O4: a comparison lets writes go on before a second is over, also where the other throws and is tried again', async (t) => {
  const { operation, told, at, faults, advance, heldNow } = building('comparing')
  at.parked = null
  const began = performance.now()
  await advance()
  const held = performance.now() - began
  t.ok(told.everHeld === 2 && held > 0 && held < 1000, `both partitions were held, for ${held} ms`)
  t.strictSame(heldNow(), [])
  await advance()
  t.equal(told.everHeld, 2, 'not again where it has not moved')
  at.next = 8
  await advance()
  t.equal(told.everHeld, 3, 'it has moved')
  at.next = 9
  await advance()
  await advance()
  t.match(operation, { state: 'ready' })
  t.strictSame([heldNow(), faults], [[], []])
})

t.test('O2: what is held goes on once both are in a snapshot, and when the comparison fails', async (t) => {
  const { told, at, faults, advance, heldNow } = building('comparing')
  Object.assign(at, { parked: null, next: 9 })
  at.whileCompared = () => told.seen.push(...heldNow())
  await advance()
  t.strictSame([told.everHeld, told.seen], [2, []])
  const failing = building('comparing')
  failing.at.parked = null
  failing.at.whileCompared = () => {
    throw new Error('no such table')
  }
  await failing.advance()
  t.strictSame(failing.heldNow(), [])
  t.equal(failing.faults.length, 1)
  t.strictSame(faults, [])
})

t.test('O5: one that parks while it is compared is held for no more', async (t) => {
  const { operation, told, advance, heldNow } = building('comparing')
  await advance()
  t.equal(operation.state, 'building')
  for (let i = 0; i < 3; i++) await advance()
  t.match(operation, { state: 'building' })
  t.strictSame([told.everHeld, heldNow()], [0, []])
})

t.test('O5: a promotion does not stop writes for one that is parked behind the live generation', async (t) => {
  const { operation, told, advance } = building('promoting')
  await advance()
  t.equal(told.everHeld, 0)
  t.equal(operation.state, 'promoting')
  t.match(told.lines, [/parked at p1:7/])
})

t.test('O6: one that no process folds says so once, what to do, and that it goes on; writes do not stop for it', async (t) => {
  for (const state of ['building', 'promoting'] as const) {
    const { operation, told, at, faults, advance } = building(state)
    Object.assign(at, { parked: null, unfolded: 3 })
    for (let i = 0; i < 3; i++) await advance()
    t.match(operation, { state, progress: { unfolded: true } })
    t.equal(told.everHeld, 0)
    t.equal(told.lines.length, 1)
    t.match(told.lines[0], /^no process folds generation 2: .*defines p version 3 with --roles projector, or `refold projection abort p`/)
    at.unfolded = undefined
    await advance()
    t.equal(told.lines[1], 'generation 2 is folded again')
    t.match(operation, { progress: { unfolded: false } })
    t.strictSame(faults, [])
  }
})

t.test('one that is ready and parks says so', async (t) => {
  const { operation, told, advance } = building('ready')
  await advance()
  await advance()
  t.equal(operation.state, 'ready')
  t.match(told.lines, [/parked at p1:7/])
})

t.test('one whose generation was retired meanwhile is over, and says so', async (t) => {
  const { operation, told, at, advance } = building('promoting')
  at.isGone = true
  await advance()
  t.equal(operation.state, 'failed')
  t.match(told.lines, [/^generation 2 is gone/])
})
