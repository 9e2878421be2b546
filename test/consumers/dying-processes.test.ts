// Random programs on Refold's own recorder, runtime and workers, whose processes die between any two steps (test/support/world): every
// execution ends as its program says, no effect comes twice that may not, and a reader of notifications finds its contract kept though
// the stream is flushed. And the check is checked: with a rule taken out, it fails.

import t from 'tap'
import type { Life, Lived, Mutant } from '../support/world/live.ts'
import { lived } from '../support/world/lived.ts'

const all = (seeds: readonly number[], life: Omit<Life, 'seed'>) => Promise.all(seeds.map((seed) => lived({ ...life, seed })))

/** J9 of consumers/projector.ts. */
const writtenAhead = (lives: readonly Lived[]) => lives.reduce((sum, { counts }) => sum + counts.ahead.written, 0)

const count = (deaths: Iterable<readonly [string, number]>) => [...deaths].reduce((sum, [, times]) => sum + times, 0)

t.test('partitions that go to and fro between processes that live: all executions end as they must', { timeout: 120_000 }, async (t) => {
  const lives = await all([1, 5, 9], { executions: 120, deaths: 0 })
  for (const { faults, deaths } of lives) t.strictSame(faults.slice(0, 5), [], `${count(deaths)} were expelled`)
  t.ok(writtenAhead(lives) > 0, `${writtenAhead(lives)} batches of projectors were written while the recorder's transaction was under way`)
})

t.test('processes that die between any two steps: all executions end as they must', { timeout: 120_000 }, async (t) => {
  const places = new Map<string, number>()
  const lives = await all([2, 3, 4], { executions: 120, deaths: 0.001, failures: 0.01 })
  for (const { faults, deaths, effects, counts } of lives) {
    for (const [place, died] of deaths) places.set(place, died + (places.get(place) ?? 0))
    t.strictSame(faults.slice(0, 5), [], `${count(deaths)} deaths, ${effects} effects, ${JSON.stringify(counts)}`)
  }
  t.ok(count(places) >= 60, `${count(places)} deaths`)
  t.ok(writtenAhead(lives) > 0, `${writtenAhead(lives)} batches of projectors were written while the recorder's transaction was under way`)
  t.ok(places.size >= 20, `at ${places.size} places: ${JSON.stringify([...places].toSorted(([, a], [, b]) => b - a))}`)
})

/** Whoever waits for the transaction sees what it refused. */
const HARMLESS = 'a batch is told of before it is stored though records of it are refused' satisfies Mutant

/** What is seen of it. */
const MUTANTS: Readonly<Record<Exclude<Mutant, typeof HARMLESS>, RegExp>> = {
  'an action is asked for before its decision is read back': /had an effect before the log asked/,
  "a runtime's checkpoint passes what is not settled": /is running/,
  "a worker's checkpoint passes requests that have no outcome": /is running/,
  'a batch is written whatever became of the transaction that it waited for': /when it was recorded up to/,
  'a batch that is assumed to be accepted is not looked at': /are counted/,
  "a projection's checkpoint is moved wherever it is": /are counted/,
  'an outcome is kept and what its transaction wrote is lost': /no effect of exactly-once/,
  'an outcome is kept of what was not done, which may be done at most once': /no effect of at-most-once/,
  'an outcome is kept of what was not done, which must be done at least once': /no effect of at-least-once/,
  'a notifier adds to a stream that lost what went before': /are missing/,
  'a notifier does not look for what Redis lost': /are not told/,
  'what a notifier sends is in the order of executions': /came first after/,
  'a notifier notes a page before Redis has it, and Redis only how far': /are missing/,
}

/** How often processes die: rarely, where a batch is only told of to those that live for a while. */
const DEATHS: Readonly<Partial<Record<Mutant, number>>> = {
  'a batch is written whatever became of the transaction that it waited for': 0.0003,
}

/** What is seen of a mutant in the first life in which it is, of three. */
async function seenOf(mutant: Mutant, wanted: RegExp): Promise<string> {
  for (const seed of [1, 2, 3]) {
    const { faults } = await lived({ seed, executions: 60, deaths: DEATHS[mutant] ?? 0.003, mutant })
    const seen = faults.find((fault) => wanted.test(fault))
    if (seen !== undefined) return seen
  }
  return ''
}

t.test('the check is checked', { timeout: 200_000 }, async (t) => {
  const all = Object.entries(MUTANTS) as [Mutant, RegExp][]
  const seen = Promise.all(all.map(async ([mutant, wanted]) => t.match(await seenOf(mutant, wanted), wanted, mutant)))
  const { faults, counts } = await lived({ seed: 2, executions: 60, deaths: 0.001, mutant: HARMLESS })
  t.strictSame(faults, [], HARMLESS)
  t.ok(counts.ahead.refused > 0, `${counts.ahead.refused} of ${counts.ahead.inVain} in vain had a record that was refused`)
  await seen
})
