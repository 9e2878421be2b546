// The recorder of one process of a world. One that has a projector beside it tells it of a batch before it stores it (R9), and the
// transaction then takes a while, in the middle of which its process may die, or Postgres undo it.

import { setTimeout as pause } from 'node:timers/promises'
import { createRecorder, type RecorderAtOnce } from '../../../consumers/recorder.ts'
import { createWriterSchemas } from '../../../consumers/writer-schemas.ts'
import type { LogHandler } from '../../../kafka/log.ts'
import type { HeardNews } from '../../../roles/recorded.ts'
import type { EventCodec } from '../../../schemas/codec.ts'
import { createWatch } from '../../../watch.ts'
import type { MortalProcess } from './process.ts'
import type { MemoryRecord } from './record.ts'

/** Longer than anybody waits for a transaction, ms. */
const LONG = 120

export type RecorderParts = {
  process: MortalProcess
  record: MemoryRecord
  codec: EventCodec
  partitions: number
  /** A number below 1, the next each time. */
  random: () => number
  /** Nobody dies any more. */
  isCalm: () => boolean
  /** Of a projector in the same process. */
  news: HeardNews | undefined
  /** A mutant: batches of which records are refused are told of, too. */
  tellsOfAll: boolean
}

/** Locks of the mutant: the recorder draws its own far above. */
let locks = 0

export function recorderHandler({ process, record, codec, partitions, random, isCalm, news, tellsOfAll }: RecorderParts): LogHandler {
  const texts = { get: async () => undefined, put: async (_id: number, text: string) => text }
  const schemas = createWriterSchemas(codec, texts, { lookup: async () => ({ state: 'unknown' }) }, () => undefined, process.own)
  const store = record.recorderStore(async () => {
    if (random() < 0.3) return
    await pause(random() * 3)
    await process.midway('record.write')
    if (!isCalm() && random() < 0.25) throw new Error('rolled back')
    // Whoever is dead by then has committed nevertheless.
    await pause(!isCalm() && random() < 0.005 ? LONG : random() * 3)
  })
  const { atOnce } = store
  const port = atOnce && process.port('record', atOnce)
  const short: RecorderAtOnce | undefined = atOnce &&
    port && {
      reads: (generation: number) => process.port('record', atOnce.reads(generation)),
      write(moves, generation, result, assumed, given) {
        const lock = tellsOfAll && news ? ++locks : given
        if (tellsOfAll && lock !== undefined) news?.storing(moves, lock)
        return port.write(moves, generation, result, assumed, lock)
      },
    }
  const watch = createWatch()
  watch.on('recorder:batch:stored', ({ partition, next }) => news?.hear(`${partition}:${next}`))
  return createRecorder({
    store: {
      ...process.port('record', { ...store }),
      transaction: (moves, work) =>
        process.remote('record.transaction', () =>
          store.transaction(moves, (transaction, moved) => work(process.port('record', transaction), moved)),
        ),
      // Some know the short way, some do not.
      ...(short && random() < (news ? 0.9 : 0.7) ? { atOnce: short } : {}),
    },
    schemas,
    partitions,
    watch,
    faults: process.faults,
    rememberedExecutions: 200,
    storing: news?.storing,
    recorded: process.recorded.add,
  })
}
