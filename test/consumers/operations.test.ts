// A promotion and the writes that it stops: none while the new generation is far behind, and never for a second.

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
    isLive: async (_, generation) => generation === live,
    notComparable: never,
    compare: never,
    progress: async () => [{ partition: 0, next: 10_000 - behind, live: 10_000, recorded: 10_000 }],
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
