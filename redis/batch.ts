// Questions of one turn of the loop, and those that come while others are on their way, go to Redis as one: a command of its client
// costs more than what Redis does for it.

/** `ask` gives an answer for each, in order; should it reject, all of its questions do: whether they were done is not known. */
export function createBatch<Question, Answer>(
  ask: (questions: readonly Question[]) => Promise<readonly Answer[]>,
  most: number,
): (question: Question) => Promise<Answer> {
  type Waiting = { question: Question; resolve: (answer: Answer) => void; reject: (error: unknown) => void }
  let waiting: Waiting[] = []
  let asking = false

  async function group(all: readonly Waiting[]): Promise<void> {
    try {
      const answers = await ask(all.map(({ question }) => question))
      all.forEach(({ resolve }, i) => resolve(answers[i] as Answer))
    } catch (error) {
      for (const { reject } of all) reject(error)
    }
  }

  async function work(): Promise<void> {
    asking = true
    await new Promise((resolve) => setImmediate(resolve))
    while (waiting.length > 0) await group(waiting.splice(0, most))
    asking = false
  }

  return (question) =>
    new Promise((resolve, reject) => {
      waiting.push({ question, resolve, reject })
      if (!asking) void work()
    })
}
