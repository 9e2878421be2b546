// Jobs that come while one is under way wait, and are done together.
//
// J1  One group is under way at a time; what comes meanwhile is the next group.
// J2  A group that fails is done again one by one: only the job at fault fails its caller.

/**
 * `run` answers a result for each job, in order. `dropped` is told of a group that failed, before its jobs are done alone. The first
 * group is what comes in one `turn` of the event loop, or only in one `callback` of it: sooner, and right where those that belong
 * together come in one.
 */
export function createCombiner<Job, Result>(
  run: (jobs: readonly Job[]) => Promise<readonly Result[]>,
  dropped: (jobs: readonly Job[]) => void,
  within: 'turn' | 'callback' = 'turn',
): (job: Job) => Promise<Result> {
  type Waiting = { job: Job; resolve: (result: Result) => void; reject: (error: unknown) => void }
  let waiting: Waiting[] = []
  let working = false

  async function alone({ job, resolve, reject }: Waiting): Promise<void> {
    try {
      const [result] = await run([job])
      resolve(result as Result)
    } catch (error) {
      dropped([job])
      reject(error)
    }
  }

  async function together(group: readonly Waiting[]): Promise<void> {
    const [first, ...more] = group
    if (first && more.length === 0) return alone(first)
    try {
      const results = await run(group.map(({ job }) => job))
      group.forEach(({ resolve }, i) => resolve(results[i] as Result))
    } catch {
      dropped(group.map(({ job }) => job))
      for (const one of group) await alone(one)
    }
  }

  async function work(): Promise<void> {
    working = true
    await new Promise<void>((resolve) => void (within === 'turn' ? setImmediate(resolve) : process.nextTick(resolve)))
    while (waiting.length > 0) await together(waiting.splice(0))
    working = false
  }

  return (job) =>
    new Promise((resolve, reject) => {
      waiting.push({ job, resolve, reject })
      if (!working) void work()
    })
}

/** Resolves in the next turn of the event loop, for all that ask in this one in one callback. */
export function createNextTurn(): () => Promise<void> {
  let turn: Promise<void> | undefined
  return () =>
    (turn ??= new Promise((resolve) =>
      setImmediate(() => {
        turn = undefined
        resolve()
      }),
    ))
}
