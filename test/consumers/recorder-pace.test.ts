// How long a batch of the recorder takes at least, on a clock in the hand.

import { test } from 'tap'
import { createPace } from '../../consumers/recorder-pace.ts'

/** Batches of 20 ms each, which begin when the one before is over. */
function pacedBy(pace: number) {
  let now = 1000
  const paced = createPace(pace, () => now)
  return {
    batch(executions: readonly string[], records = 12, took = 20): number {
      const began = now
      now += took
      const least = paced.leastOf(executions, records, began)
      now = Math.max(now, began + least)
      return least
    },
    later: (ms: number) => (now += ms),
  }
}

test('a batch takes its pace, one of few records up to three times as long', async (t) => {
  const { batch } = pacedBy(6)
  let n = 0
  t.strictSame(
    [0, 1, 6, 12, 500].map((records) => Math.round(batch([`e${n++}`], records))),
    [18, 17, 12, 6, 6],
  )
  t.equal(pacedBy(0).batch(['e'], 1), 0)
})

test('an execution that is in one batch after the other waits a quarter of that time', async (t) => {
  const { batch, later } = pacedBy(4)
  const rests = Array.from({ length: 20 }, () => batch(['hot']))
  t.strictSame(
    rests.slice(0, 6),
    [4, 5, 10, 15, 20, 25].map((ms) => Math.max(4, ms)),
    'batches of 20 ms: 0, 20, 40 … ms of it',
  )
  t.equal(rests.at(-1), 48, 'at most twelve times the pace')
  t.equal(batch(['hot', 'new']), 4, 'nobody else waits for it')
  t.equal(batch(['hot']), 48, 'it went on meanwhile')
  t.equal(batch(['other']), 4)
  t.equal(batch(['hot']), 4, 'it was not in the one before')
  batch(['hot'])
  later(51)
  t.equal(batch(['hot']), 4, 'nor is one that comes after a while')
})

test('of several, the one that has been there for the shortest time decides', async (t) => {
  const { batch } = pacedBy(4)
  for (let i = 0; i < 20; i++) batch(['a'])
  t.equal(batch(['a', 'b']), 4)
  const both = batch(['a', 'b'])
  t.equal(both, 5, 'b is there for 20 ms')
  t.equal(batch([], 1), 4 * (3 - 2 / 12), 'a batch that changes no execution')
})
