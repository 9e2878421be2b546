// Reading a projection's rows from a position on.

import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ApiDeps } from '../../api/ports.ts'
import type { ProjectionRow } from '../../postgres/reads/projections.ts'
import { fakeApi } from '../support/fake-api.ts'
import { until } from '../support/wait.ts'

/** A projection with one partition, whose checkpoint is `next.at`; `polls` counts how often it was asked for, and how many did at once. */
async function useProjection(t: Test, more: Partial<ApiDeps> = {}) {
  const api = await fakeApi(t, more)
  const next = { at: 0 }
  const polls = { all: 0, now: 0, most: 0 }
  const row = (): ProjectionRow => ({
    name: 'cases',
    version: 1,
    live_generation: 1,
    previous_generation: null,
    stopped_at: null,
    generations: [],
    places: [{ partition: 0, next: next.at, recorded: 9, parked: null }],
    tables: [],
    operation: null,
    folded_by: 1,
  })
  api.reads = {
    ...api.reads,
    projection: async () => {
      polls.all++
      polls.most = Math.max(polls.most, ++polls.now)
      await turn()
      polls.now--
      return row()
    },
    rows: async () => ({ rows: [], checkpoints: new Map([[0, next.at]]), frozen: false, generation: 1 }),
  }
  const ask = (wait: number) => api.send({ url: '/v1/projections/cases/rows?minPosition=p0:4', headers: { prefer: `wait=${wait}` } })
  return { api, next, polls, ask }
}

t.test('rows from a position on: those who wait share one poll', async (t) => {
  const { next, polls, ask } = await useProjection(t)
  t.equal((await ask(0)).statusCode, 412)
  const asked = Array.from({ length: 50 }, () => ask(60))
  await until(() => polls.all > 50, { what: 'all to wait' })
  await until(() => polls.now <= 1, { what: 'all to have looked' })
  polls.most = polls.now
  polls.all = 0
  await until(() => polls.all > 3, { what: 'some polls' })
  t.equal(polls.most, 1)
  next.at = 5
  for (const answer of await Promise.all(asked)) t.match(answer, { statusCode: 200, headers: { 'refold-watermark': 'p0:5' } })
})

t.test('rows say how new they are, and how much of the log is not in them', async (t) => {
  const { api, next } = await useProjection(t, { logEnds: async () => new Map([[0, 12]]) })
  next.at = 4
  t.match((await api.send('/v1/projections/cases/rows')).headers, { 'refold-watermark': 'p0:4', 'refold-lag': '8' })
})

t.test('closing the API ends the waits for a projection', async (t) => {
  const { api, polls, ask } = await useProjection(t)
  const asked = ask(60)
  await until(() => polls.all > 2, { what: 'it to wait' })
  await api.app.close()
  t.equal((await asked).statusCode, 412)
})
