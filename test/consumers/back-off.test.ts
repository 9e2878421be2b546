// How long a build waits for live traffic: while it is behind, and never for as long as that lasts.

import type { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { backedOffFor, createBackOff, LIVE_LAG } from '../../consumers/back-off.ts'

/** What is behind at each look, the last for ever; a pause costs no time here. */
function backingOff(...lags: number[]) {
  const slept: unknown[] = []
  const sleep = ((ms: number) => (slept.push(ms), Promise.resolve())) as typeof pause
  let looks = 0
  const lag = async () => lags[Math.min(looks++, lags.length - 1)] ?? 0
  return { backOff: createBackOff(lag, sleep), slept }
}

t.test('a build waits while what people read is behind, and goes on when it no longer is', async (t) => {
  const { backOff, slept } = backingOff(LIVE_LAG + 1, LIVE_LAG + 1, LIVE_LAG)
  let told = 0
  await backOff(10_000, { waits: () => told++ })
  t.strictSame(slept, [200, 200])
  t.equal(told, 2)
})

t.test('where that does not end, it goes on all the same', async (t) => {
  const { backOff, slept } = backingOff(1_000_000)
  await backOff(10_000)
  t.equal(slept.length, 10)
  await backOff(Infinity)
  t.equal(slept.length, 20, 'each time')
})

t.test('few records wait shortly, so that a build that is near stays near', async (t) => {
  const { backOff, slept } = backingOff(1_000_000)
  await backOff(1)
  t.equal(slept.length, 1)
  await backOff(800)
  t.equal(slept.length, 3)
})

t.test('one that is to end waits no longer', async (t) => {
  const stopping = new AbortController()
  const waiting = createBackOff(async () => 1_000_000)(10_000, { signal: stopping.signal })
  stopping.abort()
  await waiting
  t.pass()
})

t.test('who looks whether builds back off does not see each time that the line is crossed', async (t) => {
  t.equal(backedOffFor(LIVE_LAG, 0), 0)
  t.equal(backedOffFor(LIVE_LAG + 1, 0), LIVE_LAG + 1)
  t.equal(backedOffFor(LIVE_LAG - 1, LIVE_LAG + 1), LIVE_LAG - 1)
  t.equal(backedOffFor(LIVE_LAG / 2, LIVE_LAG), 0)
})
