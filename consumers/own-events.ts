// append → [own events] → recorder
//
// What this process appended, until its recorder reads it back: the very same bytes at the very same position were this event, so
// they are not decoded, checked and digested once more. Owns nothing that matters: what is not known here is decoded.
//
// O1  An event is given only for equal bytes, and only if it keeps the limits of the format: then decoding would give the same.

import type { Appended, LogRecord } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { checkEvent } from '../workflow/limits.ts'

/** Of all partitions; where no recorder of this process reads one, or reads sooner than it is told, the oldest go. */
const MOST = { events: 10_000, bytes: 8_000_000 }
/** Room for offsets beside the partition in one number. */
const OFFSETS = 2 ** 40

export type OwnEvents = {
  /** The bytes that are about to be appended for an event; nobody changes either. */
  writing(event: WorkflowEvent, partition: number, bytes: Uint8Array): void
  written(event: WorkflowEvent, appended: Pick<Appended, 'partition' | 'offset'>): void
  /** The event of a record, if it is ours. Records of a partition are asked for in order. */
  take(record: Pick<LogRecord, 'partition' | 'offset' | 'value'>): WorkflowEvent | undefined
}

type Own = { event: WorkflowEvent; bytes: Uint8Array }

export function createOwnEvents(): OwnEvents {
  const sent = new WeakMap<WorkflowEvent, Uint8Array>()
  /** By their place, the oldest first. */
  const all = new Map<number, Own>()
  let bytesKept = 0

  const placeOf = ({ partition, offset }: Pick<LogRecord, 'partition' | 'offset'>) => partition * OFFSETS + offset

  function forget(place: number, { bytes }: Own): void {
    all.delete(place)
    bytesKept -= bytes.length
  }

  return {
    writing: (event, _partition, bytes) => void sent.set(event, bytes),
    written(event, appended) {
      const bytes = sent.get(event)
      if (!bytes) return
      sent.delete(event)
      const place = placeOf(appended)
      const other = all.get(place)
      if (other) forget(place, other)
      all.set(place, { event, bytes })
      bytesKept += bytes.length
      for (const [oldest, own] of all) {
        if (all.size <= MOST.events && bytesKept <= MOST.bytes) return
        forget(oldest, own)
      }
    },
    take(record) {
      const place = placeOf(record)
      const own = all.get(place)
      if (!own) return undefined
      forget(place, own)
      const { value } = record
      return value && Buffer.compare(own.bytes, value) === 0 && !checkEvent(own.event) ? own.event : undefined
    },
  }
}
