// Records that no honest sender of ours writes, each with the verdict that the design names for it.

import { createEventCodec } from '../../schemas/codec.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { decisionIdOf, executionIdOf, startIdOf } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { EVENT_FIELDS, framed, schemaText, typeOf, varint } from './avro.ts'
import { decision, event, fired, started } from './events.ts'

export const TENANT = 'acme'
export const PARTITIONS = 12

export type Expected = { verdict: string; reason?: string }

export type Hostile = {
  name: string
  key: Buffer | null
  value: Buffer | null
  expected: Expected
  /** Nobody's: no tenant can be read from it. */
  nobodys?: true
}

export type Schemas = {
  /** Our own. */
  ours: number
  /** Ours, with an array of nulls in front. */
  withNulls: number
  /** A record that has nothing of an event. */
  foreign: number
  /** Ours under another id that the registry does not give yet. */
  hidden: number
}

export const FOREIGN_SCHEMA = JSON.stringify({ type: 'record', name: 'Invoice', fields: [{ name: 'amount', type: 'int' }] })
export const NULLS_SCHEMA = schemaText([{ name: 'added', type: { type: 'array', items: 'null' } }, ...EVENT_FIELDS])
export const HIDDEN_SCHEMA = schemaText([...EVENT_FIELDS, { name: 'unseen', type: ['null', 'string'], default: null }])

/** The n-th execution of the partition; a partition's own, so that all that is hostile meets there. */
export function executionsOf(partition: number): (name: string) => string {
  return (name) => {
    for (let i = 0; ; i++) {
      const id = executionIdOf(TENANT, 'hostile', `${name}-${i}`)
      if (partitionOf(id, PARTITIONS) === partition) return id
    }
  }
}

/** max.message.bytes as Kafka has it by default: of a batch with its header. */
const MAX_MESSAGE_BYTES = 1_048_588
/** Of a batch with one record of this size and a key of 36 bytes. */
const BATCH_OVERHEAD = 108

/** A record whose batch has `over` bytes more than the topic takes; its payload is one long text. */
export function recordOfBatchSize(over: number, one: WorkflowEvent, schemaId: number): Buffer {
  const size = MAX_MESSAGE_BYTES - BATCH_OVERHEAD + over
  const { encode } = createEventCodec({ schemaId })
  const guess = encode({ ...one, payload: JSON.stringify('x'.repeat(1_000_000)) })
  const value = encode({ ...one, payload: JSON.stringify('x'.repeat(1_000_000 + size - guess.length)) })
  if (value.length !== size) throw new Error(`${value.length} bytes, not ${size}`)
  return value
}

const YEAR_300000 = 9_404_772_192_000_000n

function withDate(value: Buffer, from: number, to: bigint): Buffer {
  const old = varint(from)
  const at = value.indexOf(old)
  return Buffer.concat([value.subarray(0, at), varint(to), value.subarray(at + old.length)])
}

/** All of them, as records of `partition`. */
export function hostileRecords(partition: number, schemas: Schemas): Hostile[] {
  const codec = createEventCodec({ schemaId: schemas.ours })
  const executionOf = executionsOf(partition)
  const all: Hostile[] = []
  let count = 0

  const base = (name: string): WorkflowEvent => event({ tenant: TENANT, execution_id: executionOf(name) })
  function raw(name: string, reason: string, value: Buffer | null, key: Buffer | null = Buffer.from(executionOf(name))): void {
    all.push({ name, key, value, expected: { verdict: 'quarantined', reason }, nobodys: true })
  }
  function bad(name: string, reason: string, changes: Partial<WorkflowEvent>, key?: string): void {
    const one = { ...base(`${name} ${count++}`), ...changes }
    const record = { name, key: Buffer.from(key ?? one.execution_id), value: codec.encode(one) }
    all.push({ ...record, expected: { verdict: 'quarantined', reason } })
  }
  function put(name: string, expected: Expected, one: WorkflowEvent, value = codec.encode(one)): void {
    all.push({ name, key: Buffer.from(one.execution_id), value, expected })
  }

  raw('garbage', 'undecodable', Buffer.from('this is not Avro'))
  raw('no value', 'undecodable', null)
  raw('nothing at all', 'undecodable', null, null)
  raw('an empty value', 'undecodable', Buffer.alloc(0))
  raw('framing alone', 'undecodable', Buffer.of(0, 0, 0, 0))
  raw('bytes left over', 'undecodable', Buffer.concat([codec.encode(base('left')), Buffer.of(0)]))
  raw('a key that is no text', 'undecodable', Buffer.of(0), Buffer.of(0xff, 0xfe, 0))
  raw('an unknown schema id', 'schema-unknown', framed(2_000_000_000, codec.encode(base('unknown')).subarray(5)))
  raw('a schema id no registry has', 'schema-unknown', framed(4_000_000_000, codec.encode(base('unknown')).subarray(5)))
  raw('a schema that comes later', 'schema-unknown', hiddenRecord(base('a schema that comes later'), schemas.hidden))
  raw('an unreadable schema', 'schema-unreadable', framed(schemas.foreign, varint(7)))
  const body = codec.encode(base('counts')).subarray(5)
  const counted = (...counts: (number | bigint)[]) => framed(schemas.withNulls, Buffer.concat([...counts.map(varint), body]))
  raw('an array of 400 million', 'undecodable', counted(400_000_000, 0))
  raw('a block of 400 million', 'undecodable', counted(-400_000_000, 0, 0))
  raw('an array of 2^62', 'undecodable', counted(2n ** 62n))

  bad('a wrong key', 'wrong-key', {}, executionOf('other'))
  bad('a wrong partition', 'wrong-partition', { execution_id: executionsOf((partition + 1) % PARTITIONS)('misplaced') })
  bad('10,000 levels', 'too-deep', { payload: '['.repeat(10_000) + ']'.repeat(10_000) })
  bad('10,000 levels that never close', 'too-deep', { payload: '{"a":'.repeat(10_000) })
  bad('a payload that is not JSON', 'bad-payload', { payload: '{"a":}' })
  bad('NUL in a name', 'not-storable', { event_name: 'a\0b' })
  bad('NUL in a payload', 'not-storable', { payload: '{"a":"\\u0000"}' })
  bad('half a surrogate pair', 'not-storable', { payload: '{"\\ud800":1}' })
  bad('year 280000', 'bad-date', { created_at: Date.UTC(275_000, 0) + 5000 * 31_556_952_000 })
  bad('an upper-case execution id', 'bad-id', { execution_id: executionOf('upper').toUpperCase() })
  bad('an upper-case event id', 'bad-id', { event_id: 'ABCDEFAB-1111-4111-8111-111111111111' })
  // Four bytes a character and no pattern in them: an index of Postgres takes 2,700 bytes.
  const long = (seed: number) =>
    Array.from({ length: 1000 }, (_, i) => String.fromCodePoint(0x10000 + (((i + 1) * seed) % 0xeffff))).join('')
  bad('long ids', 'bad-id', { event_id: long(7919), execution_id: long(104_729) }, long(104_729))
  raw('a long tenant', 'too-large', codec.encode({ ...base('a long tenant'), tenant: long(15_485_863) }))
  bad('no UUID at all', 'bad-id', { event_id: '1 OR 1=1' })
  bad("an id of ours on an outsider's event", 'reserved-id', { event_id: startIdOf(TENANT, executionOf('own')) })
  bad("a decision's id on an outsider's event", 'reserved-id', { event_id: decisionIdOf(TENANT, executionOf('own'), 1) })
  bad('an event of ours without its id', 'reserved-id', { event_name: 'timer.fired', payload: '{"timer_id":1}' })
  bad('a name that is reserved', 'reserved-name', { event_name: 'workflow.exploded' })
  bad('a decision number below 0', 'bad-decision', { decision: -1 })
  const dated = base('dated')
  // No tenant is read from it either: its date is beyond what decoding holds.
  raw('year 300000', 'bad-date', withDate(codec.encode(dated), dated.created_at, YEAR_300000), Buffer.from(dated.execution_id))
  raw('no tenant', 'bad-name', codec.encode({ ...base('no tenant'), tenant: '' }))
  raw('NUL in the tenant', 'not-storable', codec.encode({ ...base('NUL in the tenant'), tenant: `${TENANT}\0` }))
  const large = base('large')
  put(
    'one byte under max.message.bytes',
    { verdict: 'quarantined', reason: 'too-large' },
    large,
    recordOfBatchSize(-1, large, schemas.ours),
  )

  put('__proto__', { verdict: 'accepted' }, { ...base('proto'), payload: PROTO_PAYLOAD })
  put('signs that COPY reads', { verdict: 'accepted' }, { ...base('copy'), ...COPY_SIGNS })
  put('another schema, read by ours', { verdict: 'accepted' }, base('evolved'), framed(schemas.withNulls, evolvedBody(base('evolved'))))

  const twice = base('twice')
  put('a first', { verdict: 'accepted' }, twice)
  put('the same again', { verdict: 'duplicate', reason: 'same-content' }, { ...twice, created_at: 1, user_id: 'somebody' })
  put('its id with other content', { verdict: 'conflict', reason: 'other-content' }, { ...twice, to_state: 'other' })
  const ended = { ...base('ended'), to_state: 'completed' }
  put('an end', { verdict: 'accepted' }, ended)
  put('after the end', { verdict: 'late', reason: 'ended' }, { ...ended, event_id: '22222222-2222-4222-8222-222222222222' })
  const place = { tenant: TENANT, execution_id: executionOf('timer') }
  put('a start', { verdict: 'accepted' }, started(place))
  put('a second start', { verdict: 'duplicate', reason: 'same-content' }, started(place))
  put('a timer', { verdict: 'accepted' }, decision(1, '', { ...place, event_name: 'timer.started', to_state: '', payload: TIMER }))
  put('the timer too early', { verdict: 'early', reason: 'timer-not-due' }, fired(1, place))
  put('a decision out of turn', { verdict: 'conflict', reason: 'decision-number' }, decision(3, 'a'.repeat(64), place))
  return all
}

export const PROTO_PAYLOAD = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"safe":1}'
/** Null, end of data, the escape itself and both separators, to COPY in text format. */
export const COPY_SIGNS = {
  user_id: '\\N',
  event_type: '\\.',
  causation_id: '\\',
  to_state: 'a\\tb',
  payload: `{\n\t"\\\\N":\r\n\t"\\\\.\\n\\t\\\\"}`,
}
const TIMER = '{"timer_id":1,"fire_at":"2999-01-01T00:00:00.000Z"}'

/** As a writer with the schema that is hidden would write it. */
const hiddenRecord = (one: WorkflowEvent, id: number) => framed(id, typeOf(HIDDEN_SCHEMA).toBuffer({ ...one, unseen: 'x' }))
const evolvedBody = (one: WorkflowEvent) => typeOf(NULLS_SCHEMA).toBuffer({ ...one, added: [null, null] })
