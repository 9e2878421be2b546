import t from 'tap'
import { createCombiner } from '../combine.ts'

t.test('jobs that come while one is under way are done together', async (t) => {
  const groups: number[][] = []
  const first = Promise.withResolvers<void>()
  const add = createCombiner<number, number>(
    async (jobs) => {
      groups.push([...jobs])
      if (groups.length === 1) await first.promise
      return jobs.map((job) => job * 2)
    },
    () => t.fail('nothing failed'),
  )
  const one = add(1)
  await new Promise((resolve) => setImmediate(resolve))
  const more = [add(2), add(3)]
  first.resolve()
  t.strictSame(await Promise.all([one, ...more]), [2, 4, 6])
  t.strictSame(groups, [[1], [2, 3]])
  t.equal(await add(4), 8, 'and so it goes on')
})

t.test('a group that fails is done one by one: the job at fault fails alone', async (t) => {
  const dropped: number[][] = []
  const groups: number[][] = []
  const add = createCombiner<number, number>(
    async (jobs) => {
      groups.push([...jobs])
      if (jobs.includes(13)) throw new Error('13')
      return jobs
    },
    (jobs) => dropped.push([...jobs]),
  )
  t.match(await Promise.allSettled([add(1), add(13), add(2)]), [
    { value: 1 },
    { status: 'rejected', reason: { message: '13' } },
    { value: 2 },
  ])
  t.strictSame(groups, [[1, 13, 2], [1], [13], [2]])
  t.strictSame(dropped, [[1, 13, 2], [13]])
})

t.test('the first group is of one turn, or of one callback of it', async (t) => {
  for (const [within, expected] of [
    ['turn', [[1, 2, 3]]],
    ['callback', [[1], [2, 3]]],
  ] as const) {
    const groups: number[][] = []
    const first = Promise.withResolvers<void>()
    const add = createCombiner<number, number>(
      async (jobs) => {
        groups.push([...jobs])
        if (groups.length === 1) await first.promise
        return jobs
      },
      () => undefined,
      within,
    )
    const all: Promise<number>[] = []
    // Timers that are due together are callbacks of one turn.
    const due = Array.from({ length: 2 }, (_, i) => new Promise<void>((resolve) => setTimeout(resolve, 5 - i)))
    const begun = performance.now()
    while (performance.now() - begun < 10) continue
    const added = due.map((one, i) => one.then(() => all.push(...(i === 1 ? [add(1)] : [add(2), add(3)]))))
    await Promise.all(added)
    await new Promise((resolve) => setImmediate(resolve))
    first.resolve()
    await Promise.all(all)
    t.strictSame(groups, expected, within)
  }
})
