import t from 'tap'
import { createBatch } from '../../redis/batch.ts'

t.test('what is asked in one turn, and while others are on their way, goes together and in order, so many at most', async (t) => {
  const groups: number[][] = []
  const answers: (() => void)[] = []
  const ask = createBatch<number, number>((questions) => {
    groups.push([...questions])
    return new Promise((resolve) => answers.push(() => resolve(questions.map((n) => n * 10))))
  }, 3)
  const first = [1, 2].map(ask)
  await new Promise((resolve) => setImmediate(resolve))
  const later = [3, 4, 5, 6].map(ask)
  t.strictSame(groups, [[1, 2]], 'the others wait')
  while (answers.length > 0) {
    answers.shift()?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(await Promise.all([...first, ...later]), [10, 20, 30, 40, 50, 60])
  t.strictSame(groups, [[1, 2], [3, 4, 5], [6]])
})

t.test('a group that fails fails each of its questions, and no other', async (t) => {
  let failing = true
  const ask = createBatch<number, number>(async (questions) => {
    if (failing) throw new Error('away')
    return questions
  }, 10)
  const both = await Promise.allSettled([ask(1), ask(2)])
  t.strictSame(
    both.map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  failing = false
  t.equal(await ask(3), 3)
})
