// A projection that is rebuilt from the audit, where the log was cut, is told of each event what one that reads the log is told.

import t from 'tap'
import { foldEvent } from '../../api/folds.ts'
import { createProjectionStore } from '../../postgres/projection-store.ts'
import { readEventsAfter } from '../../postgres/reads/events.ts'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { defineProjection } from '../../projections/define.ts'
import { ProjectionEvent } from '../../projections/event.ts'
import { useDatabase } from '../support/database.ts'
import { decision, event, started, TENANT } from '../support/events.ts'
import { batchOf, PARTITION, recorderOn, recordOf } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

const id = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`
const any = defineProjection({
  name: 'any',
  version: 1,
  columns: { id: 'text' },
  key: ['id'],
  keys: () => [],
  initial: ({ id: key }) => ({ id: key }),
  evolve: (row) => row,
})

/** All that a fold can ask of it. */
function told(one: ProjectionEvent): Record<string, unknown> {
  const getters = Object.entries(Object.getOwnPropertyDescriptors(ProjectionEvent.prototype))
  const asked = getters.flatMap(([name, { get }]) => (get && name !== 'audit' ? [[name, get.call(one) as unknown] as const] : []))
  return { ...Object.fromEntries(asked), partition: one.partition, offset: one.offset, appendedAt: one.appendedAt }
}

t.test('what an event says is the same from the audit as from the log', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const folded = [
    event({ event_id: id(1), from_state: '', to_state: 'received', payload: '{"sum":9007199254740993}', user_id: 'u', business_key: 'k' }),
    event({ event_id: id(2), from_state: 'anything', to_state: 'received', correlation_id: 'c', causation_id: 'd' }),
    event({ event_id: id(3), from_state: 'received', to_state: '', event_type: 'other', workflow_name: 'w', created_at: 1 }),
    event({ event_id: id(4), from_state: '', to_state: '' }),
  ]
  // An outsider's state moves no execution that is driven: the fold has other states than were sent, both of them.
  const driven = [started(), decision(1, ''), event({ event_id: id(5), from_state: 'theirs', to_state: 'theirs too' })]
  for (const [how, sent] of Object.entries({ folded, driven })) {
    const database = await useDatabase(t, databaseUrl)
    const recorder = recorderOn(database)
    await recorder.checkpoint(PARTITION)
    const records = sent.map((one, i) => recordOf(one, i))
    await recorder.batch(batchOf(records, 0))
    const fromLog = sent.map((one, i) => told(new ProjectionEvent(one, records[i]!)))

    const rows = await createProjectionStore(database.engine, any, 1).events(PARTITION, 0, 100, 100)
    t.strictSame(
      rows.map((row) => told(new ProjectionEvent(row.event, { partition: PARTITION, offset: row.offset, appendedAt: row.appendedAt }))),
      fromLog,
      `${how}: to a rebuild`,
    )
    const reads = createReadPool(database.url, { max: 1, name: 'test-as-sent' })
    t.teardown(() => reads.close())
    const page = await readEventsAfter(reads, TENANT, { after: new Map(), limit: 1200 })
    t.strictSame(
      page.value.rows.map((row) => told(foldEvent(row))),
      fromLog,
      `${how}: to who asks for provenance or changes`,
    )
    t.ok(
      rows.some((row, i) => row.from !== sent[i]?.from_state),
      'and the fold computed others',
    )
  }
})
