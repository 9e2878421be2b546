import t from 'tap'
import { Layered } from '../../consumers/layered.ts'

t.test('what a batch sets is seen through it only, until it is settled', async (t) => {
  const under = new Map([
    ['a', 1],
    ['b', 2],
  ])
  const thrownAway = new Layered(under)
  thrownAway.set('a', 9)
  thrownAway.set('x', 9)
  const one = new Layered(under)
  one.set('b', 3)
  one.set('c', 4)
  t.strictSame([one.get('a'), one.get('b'), one.get('c'), one.get('x')], [1, 3, 4, undefined])
  t.strictSame([...one.values()], [1, 3, 4])
  t.strictSame(
    [...one.changes()],
    [
      ['b', 3],
      ['c', 4],
    ],
  )
  t.equal(under.get('b'), 2)
  t.equal(one.settle(), under)
  t.strictSame(
    [...under],
    [
      ['a', 1],
      ['b', 3],
      ['c', 4],
    ],
  )
  t.strictSame([...one.values()], [1, 3, 4])
  t.equal(one.changes().size, 0)
})
