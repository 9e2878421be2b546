// log → [decode, inspect] → runtime | projector
//
// Writer schemas for readers other than the recorder: their texts are in the database once the recorder has judged a record
// that needed them. Until then such a record waits; one that the recorder passed without a text is unreadable for ever.

import { setTimeout as pause } from 'node:timers/promises'
import { RefoldError } from '../errors.ts'
import type { LogRecord } from '../kafka/log.ts'
import { inspect } from '../workflow/accept.ts'
import type { Classified } from '../workflow/events.ts'
import type { EventCodec } from '../schemas/codec.ts'
import type { EventReader } from './shared-pass.ts'
import type { RuntimeSchemas } from './runtime-port.ts'
import type { Decoder, SchemaTexts } from './writer-schemas.ts'

/** Events of records that the recorder accepted: it inspected them, so only their bytes are read here. */
export type AcceptedRecords = {
  /** Resolves once the writer schema of each record is known, or never will be. */
  ready(records: readonly LogRecord[]): Promise<void>
  /** Once they are ready. */
  read: EventReader
}

const POLL = 50
const WAIT = 30_000

/** Confluent framing; undefined where there is none. Without a buffer of its own: this is asked of every record. */
function schemaIdOf({ value }: LogRecord): number | undefined {
  if (!value || value.length < 5) return undefined
  return (((value[1] ?? 0) << 24) | ((value[2] ?? 0) << 16) | ((value[3] ?? 0) << 8) | (value[4] ?? 0)) >>> 0
}

/** Of bytes that were accepted a walk over them was the recorder's work. */
export const eventReader =
  (codec: Pick<EventCodec, 'decode' | 'decodeAccepted'>): EventReader =>
  ({ value }, isDoubtful = false) => {
    if (!isDoubtful) return codec.decodeAccepted(value)
    const decoded = codec.decode(value)
    return decoded.state === 'event' ? decoded.event : undefined
  }

export function createReaderSchemas(
  codec: Decoder & Pick<EventCodec, 'decodeAccepted'>,
  texts: Pick<SchemaTexts, 'get'>,
  partitions: number,
  recorded: (partition: number) => Promise<number>,
): RuntimeSchemas & AcceptedRecords {
  async function decode({ value, partition, offset }: LogRecord) {
    const until = performance.now() + WAIT
    for (;;) {
      const decoded = codec.decode(value)
      if (decoded.state !== 'schema-needed') return decoded
      // In this order: what the recorder stored before it passed the record is then seen.
      const passed = (await recorded(partition)) > offset
      const text = await texts.get(decoded.schemaId)
      if (text !== undefined) codec.addSchema(decoded.schemaId, text)
      else if (passed) return undefined
      else if (performance.now() > until)
        throw new RefoldError('recorder-behind', `p${partition}:${offset} needs schema ${decoded.schemaId}, which is not stored yet`)
      else await pause(POLL)
    }
  }

  return {
    async ready(records) {
      let known: number | undefined
      for (const record of records) {
        const schema = schemaIdOf(record)
        if (schema === known) continue
        await decode(record)
        known = schema
      }
    },
    read: eventReader(codec),
    async inspect(record): Promise<Classified | undefined> {
      const decoded = await decode(record)
      if (!decoded) return undefined
      const result = inspect(decoded, record, partitions)
      return 'verdict' in result ? undefined : result
    },
  }
}
