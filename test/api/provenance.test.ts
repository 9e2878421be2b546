// The events that made a row: those that a person let the projection pass made nothing.

import t from 'tap'
import type { EventRow } from '../../postgres/reads/events.ts'
import type { ProjectionRow } from '../../postgres/reads/projections.ts'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { readSkips } from '../../postgres/reads/projections.ts'
import { defineProjection } from '../../projections/define.ts'
import { useDatabase } from '../support/database.ts'
import { fakeApi } from '../support/fake-api.ts'
import { useStack } from '../support/stack.ts'

const counts = defineProjection({
  name: 'counts',
  version: 1,
  columns: { execution: 'text', events: 'integer' },
  key: ['execution'],
  keys: (event) => [{ execution: event.executionId }],
  initial: ({ execution }) => ({ execution, events: 0 }),
  evolve: (row) => ({ ...row, events: (row.events ?? 0) + 1 }),
})

const event = (offset: number): EventRow => ({
  event_id: `e${offset}`,
  tenant: 'tenant-a',
  execution_id: 'x',
  event_name: 'seen',
  event_type: 'input',
  from_state: '',
  to_state: '',
  sent_from_state: null,
  sent_to_state: null,
  user_id: null,
  payload: null,
  created_at: '2026-01-01T00:00:00.000Z',
  causation_id: null,
  correlation_id: null,
  workflow_name: null,
  business_key: null,
  decision: 0,
  seq: String(offset + 1),
  partition: 0,
  log_offset: String(offset),
  appended_at: '2026-01-01T00:00:00.000Z',
})

t.test('an event that was passed, by code that was mended since, is shown as passed and made nothing', async (t) => {
  const api = await fakeApi(t, { folds: [counts] })
  const row: ProjectionRow = {
    name: 'counts',
    version: 1,
    live_generation: 2,
    previous_generation: null,
    stopped_at: null,
    generations: [{ generation: 2, version: 1, state: 'live', made_at: '', parked: [] }],
    places: [{ partition: 0, next: 3, recorded: 3, parked: null }],
    tables: [],
    operation: null,
    folded_by: 1,
  }
  api.reads = {
    ...api.reads,
    projection: async () => row,
    eventsAfter: async (_, { after }) => ({
      value: { rows: after.size === 0 ? [0, 1, 2].map(event) : [], next: new Map([[0, 2]]), more: false },
      checkpoints: new Map(),
    }),
    skips: async (_, name, generation) => new Map(name === 'counts' && generation === 2 ? [['p0:1', 'a known fault']] : []),
  }
  const answer = await api.send('/v1/projections/counts/rows/x/provenance')
  t.equal(answer.statusCode, 200, answer.body)
  t.match(answer.json(), {
    steps: [
      { position: 'p0:0', changed: { events: { to: 1 } } },
      { position: 'p0:1', changed: {}, row: { events: 1 }, skipped: 'a known fault' },
      { position: 'p0:2', changed: { events: { from: 1, to: 2 } } },
    ],
  })
  t.equal(answer.body.split('"skipped"').length, 2, 'of the others nothing is said')
})

t.test('what was passed is read of one generation', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin, url } = await useDatabase(t, databaseUrl)
  await admin.query(`
    INSERT INTO refold.projections (name, version) VALUES ('counts', 1), ('other', 1);
    INSERT INTO refold.projection_skips (projection, generation, partition, log_offset, reason)
    VALUES ('counts', 1, 0, 7, 'older'), ('counts', 2, 3, 9, 'known'), ('other', 2, 0, 1, 'another')`)
  const pool = createReadPool(url, { max: 1, name: 'test-skips' })
  t.teardown(() => pool.close())
  t.strictSame(await readSkips(pool, 'tenant-a', 'counts', 2), new Map([['p3:9', 'known']]))
})
