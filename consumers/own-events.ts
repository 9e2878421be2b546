// append → [own events] → recorder
//
// What this process appended, until its recorder reads it back: the very same bytes at the very same position were this event, so
// they are not decoded, checked and digested once more. Owns nothing that matters: what is not known here is decoded.
//
// O1  An event is given only for equal bytes, and only if it keeps the limits of the format: then decoding would give the same.

import type { Appended, LogRecord } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { checkEvent } from '../workflow/limits.ts'

/** Of one partition; where no recorder of this process reads it, the oldest go. */
const MOST = 2000

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
  /** By partition, in the order of their offsets but for answers that overtook each other. */
  const places = new Map<number, Map<number, Own>>()

  return {
    writing: (event, _partition, bytes) => void sent.set(event, bytes),
    written(event, { partition, offset }) {
      const bytes = sent.get(event)
      if (!bytes) return
      // Else kept as long as the event, which its execution keeps.
      sent.delete(event)
      let place = places.get(partition)
      if (!place) places.set(partition, (place = new Map()))
      place.set(offset, { event, bytes })
      if (place.size <= MOST) return
      for (const oldest of place.keys()) {
        place.delete(oldest)
        break
      }
    },
    take({ partition, offset, value }) {
      const place = places.get(partition)
      if (!place) return undefined
      const own = place.get(offset)
      for (const before of place.keys()) {
        if (before > offset) break
        place.delete(before)
      }
      if (!own || !value || Buffer.compare(own.bytes, value) !== 0 || checkEvent(own.event)) return undefined
      return own.event
    },
  }
}
