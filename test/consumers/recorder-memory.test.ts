import t from 'tap'
import { Layered } from '../../consumers/layered.ts'
import type { Folded } from '../../consumers/recorder-fold.ts'
import { createRecorderMemory } from '../../consumers/recorder-memory.ts'
import { BLANK_HEAD } from '../../workflow/accept.ts'
import { initial } from '../../workflow/execution.ts'

const foldedOf = (executionId: string, ids: number): Folded => {
  const contents = new Layered<string, string>()
  for (let i = 0; i < ids; i++) contents.set(`${executionId}-${i}`, 'content')
  return { tenant: 't', executionId, partition: 1, offset: 0, head: BLANK_HEAD, state: initial('t', executionId), contents }
}
const needOf = (executionId: string) => ({ tenant: 't', executionId, eventIds: [] })

t.test('M5: a long history is remembered, in the place of many; one longer than all that may be kept is not', async (t) => {
  const memory = createRecorderMemory(200) // 6,400 ids
  const many = Array.from({ length: 100 }, (_, i) => foldedOf(`short-${i}`, 20))
  memory.keep(1, 10, 1, many)
  const recalled = (ids: readonly string[]) =>
    [...memory.recall(1, 10, 1, ids.map(needOf)).known.values()].map(({ state }) => state.executionId)
  t.equal(recalled(many.map(({ executionId }) => executionId)).length, 100)
  memory.keep(1, 10, 1, [foldedOf('long', 6000)])
  t.strictSame(recalled(['long']), ['long'])
  const left = recalled(many.map(({ executionId }) => executionId))
  t.ok(left.length > 0 && left.length < 20, `${left.length} short ones are left`)
  t.equal(left.at(-1), 'short-99', 'the newest')
  memory.keep(1, 10, 1, [foldedOf('longer', 6400)])
  t.strictSame(recalled(['longer']), [])
  const known = memory
    .recall(1, 10, 1, [needOf('long')])
    .known.values()
    .next().value
  t.equal(known?.contents.size, 6000)
})

t.test('a fold that is thrown away leaves what is remembered as it was; one that is kept adds to it', async (t) => {
  const memory = createRecorderMemory(10)
  memory.keep(1, 1, 1, [foldedOf('a', 2)])
  const contents = () =>
    memory
      .recall(1, 1, 1, [needOf('a')])
      .known.values()
      .next().value?.contents ?? new Map<string, string>()
  new Layered(contents()).set('thrown-away', 'content')
  t.equal(contents().size, 2)
  const next = new Layered(contents())
  next.set('kept', 'content')
  memory.keep(1, 1, 1, [{ ...foldedOf('a', 0), contents: next }])
  t.strictSame([...contents().keys()], ['a-0', 'a-1', 'kept'])
})
