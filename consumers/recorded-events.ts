// recorder → [recorded events] → notifier
//
// What this process's recorder committed, until its notifier has sent it: it need not be read back from the audit. Owns nothing that
// matters: what is not known here is read there.
//
// E1  Only what was committed is added. Of a partition that is followed, it is one piece without a gap; what would leave one ends
//     a gap begins a new piece, which is given once what is before it was read back and sent. What was read back before it was added is
//     left out.

import type { EventToTell } from '../workflow/notification.ts'
import type { AuditRow } from './recorder-fold.ts'

/** Of a partition; more than that is read back in pages. */
const MOST = { events: 500, bytes: 500_000 }
/** Of all partitions. */
const MOST_BYTES = 16_000_000
/** After so long without a batch, ms, a partition may be somebody else's. */
const OURS = 1000
/** What an event costs beside its payload, about. */
const EVENT_BYTES = 500

export type RecordedEvents = {
  /** Accepted events of [from, next), which are committed. */
  add(partition: number, from: number, next: number, events: readonly AuditRow[]): void
  /** From now on what is at this offset and after it is kept; what is before it is not asked for again. */
  follow(partition: number, offset: number): void
  /** Where what is kept of a partition ends, if it begins where it is followed. */
  end(partition: number): number | undefined
  /** All of it. */
  all(partition: number): { next: number; events: readonly EventToTell[] } | undefined
  /** Nothing is followed any more. */
  leave(): void
  /** Whether this process's recorder has the partition, as far as is known: what it commits is added. */
  isOurs(partition: number): boolean
}

/** `at`: where it is followed from; `from` is beyond it where there is a gap, which is read back meanwhile. */
type Followed = { at: number; from: number; next: number; rows: AuditRow[]; bytes: number }

const bytesOf = (rows: readonly AuditRow[]) => rows.reduce((sum, { event }) => sum + EVENT_BYTES + (event.payload?.length ?? 0), 0)

const toTell = ({ event, seq, from, to, partition, offset }: AuditRow): EventToTell => ({
  event_id: event.event_id,
  execution_id: event.execution_id,
  event_name: event.event_name,
  event_type: event.event_type,
  tenant: event.tenant,
  created_at: event.created_at,
  user_id: event.user_id,
  from_state: from,
  to_state: to,
  payload: event.payload,
  seq,
  partition,
  offset,
})

export function createRecordedEvents(now = () => performance.now()): RecordedEvents {
  const followed = new Map<number, Followed>()
  let bytesKept = 0
  /** When the newest batch of each partition was added. */
  const addedAt = new Map<number, number>()

  function put(partition: number, one: Followed): void {
    bytesKept += one.bytes - (followed.get(partition)?.bytes ?? 0)
    followed.set(partition, one)
  }

  function whole(partition: number): Followed | undefined {
    const one = followed.get(partition)
    return one?.at === one?.from ? one : undefined
  }

  return {
    add(partition, from, next, events) {
      addedAt.set(partition, now())
      const one = followed.get(partition)
      if (!one || next <= one.next) return
      const rows = one.next === from ? events : events.filter(({ offset }) => offset >= one.next)
      const anew = { at: one.at, from, next, rows: [...events], bytes: bytesOf(events) }
      const piece = from > one.next ? anew : { ...one, next, rows: [...one.rows, ...rows], bytes: one.bytes + bytesOf(rows) }
      const isRoom = ({ rows: { length }, bytes }: Followed) =>
        length <= MOST.events && bytes <= MOST.bytes && bytesKept + bytes - one.bytes <= MOST_BYTES
      put(partition, [piece, anew].find(isRoom) ?? { at: one.at, from: next, next, rows: [], bytes: 0 })
    },
    follow(partition, offset) {
      const one = followed.get(partition)
      if (one && offset < one.from && offset >= one.at) put(partition, { ...one, at: offset })
      else if (one && offset >= one.from && offset <= one.next) {
        const rows = one.rows.filter((row) => row.offset >= offset)
        put(partition, { at: offset, from: offset, next: one.next, rows, bytes: bytesOf(rows) })
      } else put(partition, { at: offset, from: offset, next: offset, rows: [], bytes: 0 })
    },
    end: (partition) => whole(partition)?.next,
    all(partition) {
      const one = whole(partition)
      return one && { next: one.next, events: one.rows.map(toTell) }
    },
    isOurs: (partition) => now() - (addedAt.get(partition) ?? -Infinity) < OURS,
    leave() {
      followed.clear()
      bytesKept = 0
    },
  }
}
