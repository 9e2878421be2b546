// Adds golden records: those of RECORDS whose file isn't there yet. Each is encoded by fastavro, and, where its writer has
// our schema, by us as well: the bytes must be equal. Never changes a file. Run it by hand, from the project's folder.

import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { format } from 'oxfmt'
import { createEventCodec } from '../../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../../schemas/generated.ts'
import { contentOf } from '../../../workflow/content.ts'
import { madeAhead } from '../../../workflow/events.ts'
import { type Field, EVENT_FIELDS } from '../../support/avro.ts'
import { decision, event, started } from '../../support/events.ts'
import { openPython } from '../../support/python.ts'

export type GoldenRecord = {
  about: string
  /** Which libraries wrote these very bytes. */
  by: string[]
  schemaId: number
  /** The writer's schema. */
  schema: unknown
  /** The record's value, Confluent framing included. */
  hex: string
  /** What the writer wrote, field by field. */
  written: unknown
  /** What we read. */
  event: WorkflowEvent
  content: string
}

const TEN = ['event_id', 'tenant', 'execution_id', 'event_name', 'event_type', 'from_state', 'to_state', 'user_id', 'payload', 'created_at']
const ours = JSON.parse(WORKFLOW_EVENT_SCHEMA) as { fields: Field[] }
const withFields = (fields: Field[]) => ({ ...ours, fields })
const only = (names: readonly string[], from: object) => Object.fromEntries(Object.entries(from).filter(([name]) => names.includes(name)))

type Draft = Pick<GoldenRecord, 'about' | 'schemaId' | 'event'> & Partial<Pick<GoldenRecord, 'schema' | 'written'>>

const full = event({
  event_name: 'permit.assessed',
  event_type: 'domain',
  from_state: 'received',
  to_state: 'assessed',
  user_id: 'user-7',
  payload: '{"fee":12.50,"lines":[1,2,3],"note":null}',
  created_at: 1_318_333_291_788,
  causation_id: '22222222-2222-4222-8222-222222222222',
  correlation_id: 'case/10011',
  workflow_name: 'permit',
  business_key: 'case-10011',
})
const wide = { ...full, priority: 3, tags: ['a', 'b'], origin: { system: 'erp', host: null }, ratio: 0.25, seen: { web: 2 } }

const RECORDS: Readonly<Record<string, Draft>> = {
  plain: { about: 'nothing but what must be', schemaId: 7, event: event() },
  full: { about: 'every field of an input', schemaId: 7, event: full },
  numbers: {
    about: 'numbers that a double cannot hold',
    schemaId: 7,
    event: event({ payload: '{"big":9007199254740993,"small":0.1234567890123456789,"exp":1e400}' }),
  },
  text: {
    about: 'text of one to four bytes a character, a byte order mark, the replacement character',
    schemaId: 7,
    event: event({ tenant: 'gemeente-’s-Hertogenbosch', to_state: 'état €', user_id: '\ufeffłódź', payload: '"🦔 a\u0301 \ufffd 漢字"' }),
  },
  empty: { about: 'empty text is not null', schemaId: 7, event: event({ event_type: '', user_id: '', payload: '""', correlation_id: '' }) },
  'payload-null': { about: 'a payload of JSON null is not no payload', schemaId: 7, event: event({ payload: 'null' }) },
  earliest: { about: 'the first millisecond of year 1', schemaId: 7, event: event({ created_at: -62_135_596_800_000 }) },
  latest: { about: 'the last millisecond of year 9999', schemaId: 2_147_483_647, event: event({ created_at: 253_402_300_799_999 }) },
  started: { about: 'workflow.started', schemaId: 7, event: started() },
  decision: {
    about: 'a decision with a chain',
    schemaId: 7,
    event: decision(300, 'c'.repeat(64), { payload: '{"to":"s300"}' }),
  },
  'decision-ahead': {
    about: 'a decision that stands only as the event with this seq, on this input',
    schemaId: 7,
    event: madeAhead(decision(3, 'd'.repeat(64), { payload: '{"to":"s3"}' }), 300, 'e'.repeat(64)),
  },
  scheduled: {
    about: 'action.scheduled: its content leaves out policy, timeout and parsed parameters',
    schemaId: 7,
    event: decision(1, '', {
      event_name: 'action.scheduled',
      to_state: '',
      payload:
        '{"name":"reserve_stock","key":"k","group":null,"arguments":{"order":"o-1","amount":1.50},"parameters":{"order":"o-1"},"retry":{"attempts":5},"timeout":30000,"guarantee":"at-least-once"}',
    }),
  },
  'ten-fields': {
    about: "an older producer: the event model's ten fields and no other",
    schemaId: 8,
    schema: withFields(EVENT_FIELDS.filter(({ name }) => TEN.includes(name))),
    event: event({ user_id: 'user-7', payload: '{"a":1}', to_state: 'received' }),
  },
  'required-fields': {
    about: 'a producer that writes only what has no default',
    schemaId: 9,
    schema: withFields(EVENT_FIELDS.filter((field) => field.default === undefined)),
    event: event(),
  },
  evolved: {
    about: 'a newer producer: five more fields, of other types, in other places',
    schemaId: 10,
    schema: withFields([
      { name: 'seen', type: { type: 'map', values: 'int' }, default: {} },
      ...EVENT_FIELDS.slice(0, 5),
      { name: 'tags', type: { type: 'array', items: 'string' }, default: [] },
      {
        name: 'origin',
        type: [
          'null',
          {
            type: 'record',
            name: 'Origin',
            fields: [
              { name: 'system', type: 'string' },
              { name: 'host', type: ['null', 'string'] },
            ],
          },
        ],
        default: null,
      },
      ...EVENT_FIELDS.slice(5).toReversed(),
      { name: 'ratio', type: 'double', default: 0 },
      { name: 'priority', type: 'int', default: 0 },
    ]),
    written: wide,
    event: full,
  },
  'other-namespace': {
    about: 'a producer with a namespace of its own, and plain types for ours that are logical',
    schemaId: 11,
    schema: { ...ours, namespace: 'com.acme.orders', fields: EVENT_FIELDS.map(({ type, ...field }) => ({ ...field, type: plain(type) })) },
    event: full,
  },
}

function plain(type: unknown): unknown {
  return typeof type === 'object' && type !== null && 'logicalType' in type && 'type' in type ? type.type : type
}

/** Records of before decision 0015, written once more under the schema that came with it. */
const ONCE_MORE = ['plain', 'full', 'numbers', 'text', 'empty', 'latest', 'started', 'decision', 'scheduled']

async function make(name: string, draft: Draft): Promise<void> {
  const file = path.join(import.meta.dirname, `${name}.json`)
  if (existsSync(file)) return
  const python = await openPython()
  const { about, schemaId, event: read, schema = ours } = draft
  const names = (schema as { fields: Field[] }).fields.map((field) => field.name)
  const written = only(names, draft.written ?? read)
  const [answer] = (await python.run('avro_records.py', [], [{ schema, schemaId, event: written }])) as [{ hex: string }]
  const same = schema === ours && createEventCodec({ schemaId }).encode(read).toString('hex') === answer.hex
  if (schema === ours && !same) throw new Error(`${name}: fastavro and we write other bytes`)
  const by = same ? ['refold', 'fastavro 1.13.1'] : ['fastavro 1.13.1']
  const record: GoldenRecord = { about, by, schemaId, schema, hex: answer.hex, written, event: read, content: contentOf(read) }
  const { code } = await format(file, JSON.stringify(record, null, 2), { printWidth: 140 })
  writeFileSync(file, code)
}

if (import.meta.main) {
  for (const [name, draft] of Object.entries(RECORDS)) await make(name, draft)
  for (const name of ONCE_MORE) await make(`${name}-2`, RECORDS[name]!)
}
