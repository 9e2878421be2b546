import t from 'tap'
import { createOwnRecords } from '../../consumers/own-records.ts'

t.test('a runtime rests after batches of its own records, longer where nothing of others came for a second', async (t) => {
  let now = 0
  const own = createOwnRecords(() => now)
  own.announce('a')
  own.announce('b')
  t.equal(own.rest(['a']), 5, 'its own')
  t.equal(own.rest(['a']), 0, 'the same once more is not what it appended')
  t.equal(own.rest(['b', 'x']), 0, 'not only its own')
  t.equal(own.rest([]), 5, 'all was taken already')
  now = 999
  t.equal(own.rest([]), 5)
  now = 1000
  t.equal(own.rest([]), 20)
  t.equal(own.rest(['y']), 0)
  t.equal(own.rest([]), 5)
})
