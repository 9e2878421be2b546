// Records of the past, kept for ever: each file of golden/ holds one record's bytes, its writer's schema, and what it
// means. They are added to (golden/make.ts), never made again: a golden record that no longer reads is a broken format.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../schemas/generated.ts'
import { contentOf } from '../../workflow/content.ts'
import { usePython } from '../support/python.ts'
import type { GoldenRecord } from './golden/make.ts'

/** Fields that are younger than some of the records. */
const LATER: Partial<WorkflowEvent> = { decision_seq: 0, decision_input: '' }
const FOLDER = path.join(import.meta.dirname, 'golden')
const OURS: unknown = JSON.parse(WORKFLOW_EVENT_SCHEMA)

const records = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.json'))
  .map((file): GoldenRecord => JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) as GoldenRecord)

/** True for a record whose writer had the schema we have now. */
const isCurrent = ({ schema }: GoldenRecord) => JSON.stringify(schema) === JSON.stringify(OURS)

void t.test('golden records decode to their events, with their content digests', async (t) => {
  t.ok(records.length >= 12, 'the corpus is there')
  for (const { about, schemaId, schema, hex, event, content } of records) {
    const codec = createEventCodec({ schemaId: 1 })
    codec.addSchema(schemaId, JSON.stringify(schema))
    // A field that came later has its default.
    const read = { ...LATER, ...event }
    t.strictSame(codec.decode(Buffer.from(hex, 'hex')), { state: 'event', event: read }, about)
    t.equal(contentOf(event), content, `${about}: content`)
  }
})

void t.test('we write the same bytes as on the day they were made', async (t) => {
  const current = records.filter(isCurrent)
  t.ok(current.length >= 8)
  for (const { about, schemaId, event, hex } of current) t.equal(createEventCodec({ schemaId }).encode(event).toString('hex'), hex, about)
})

void t.test('fastavro writes the same bytes and reads the same events', async (t) => {
  const python = await usePython(t)
  if (!python) return
  const written = await python.run(
    'avro_records.py',
    [],
    records.map(({ schema, schemaId, written }) => ({ schema, schemaId, event: written })),
  )
  t.strictSame(
    written,
    records.map(({ hex }) => ({ hex })),
  )
  const read = await python.run(
    'avro_records.py',
    [],
    records.map(({ schema, hex }) => ({ schema, hex })),
  )
  t.strictSame(
    read,
    records.map(({ schemaId, written }) => ({ schemaId, event: written })),
  )
})
