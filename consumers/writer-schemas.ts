// produce → log → [learn its schema] → accept → recorder
//
// Writer schemas by their registry id. Only the recorder asks the registry, and stores each text before the first verdict
// that needed it; every other reader takes the text from the database or waits for it.

import type { LogRecord } from '../kafka/log.ts'
import type { Decoded } from '../schemas/decoded.ts'
import type { OwnEvents } from './own-events.ts'
import type { RecorderSchemas } from './recorder-fold.ts'

/** The `schemas` table. */
export type SchemaTexts = {
  get(id: number): Promise<string | undefined>
  /** Stores a text unless the id has one; gives the text that is stored now. */
  put(id: number, text: string): Promise<string>
}

/** The registry; rejects while it does not answer. */
export type SchemaLookup = { lookup(id: number): Promise<{ state: 'found'; text: string } | { state: 'unknown' }> }

export type Decoder = { decode(bytes: Uint8Array | null): Decoded; addSchema(id: number, text: string): void }

export function createWriterSchemas(
  codec: Decoder,
  texts: SchemaTexts,
  registry: SchemaLookup,
  stored: (id: number) => void,
  own?: Pick<OwnEvents, 'take'>,
): RecorderSchemas {
  async function textOf(id: number): Promise<string | undefined> {
    const known = await texts.get(id)
    if (known !== undefined) return known
    const found = await registry.lookup(id)
    if (found.state === 'unknown') return undefined
    stored(id)
    return texts.put(id, found.text)
  }
  return {
    decode(record: LogRecord) {
      const event = own?.take(record)
      return event ? { state: 'event', event } : codec.decode(record.value)
    },
    async learn(id) {
      const text = await textOf(id)
      if (text === undefined) return 'unknown'
      codec.addSchema(id, text)
      return 'learnt'
    },
  }
}
