// The form of a notification: a fixed contract (docs/notifications.md). Ten flat fields as they always were, and three of ours.
// A reader picks fields by name; '' = absent.

import { formatPosition } from './position.ts'

/** An accepted event as the audit has it; states are the computed ones, payload is JSON text. */
export type EventToTell = {
  event_id: string
  execution_id: string
  event_name: string
  event_type: string
  tenant: string
  /** ms since 1970 UTC */
  created_at: number
  user_id: string | null
  from_state: string
  to_state: string
  payload: string | null
  seq: number
  partition: number
  offset: number
}

/** Names and values in turn, as XADD takes them. `previous` is the offset of the previous accepted event of the partition. */
export function fieldsOf(event: EventToTell, previous: number | null): string[] {
  const { partition, offset } = event
  return [
    'event_id',
    event.event_id,
    'execution_id',
    event.execution_id,
    'event_name',
    event.event_name,
    'event_type',
    event.event_type,
    'tenant',
    event.tenant,
    'timestamp',
    new Date(event.created_at).toISOString(),
    'user_id',
    event.user_id ?? '',
    'from_state',
    event.from_state,
    'to_state',
    event.to_state,
    'payload_json',
    event.payload ?? '{}',
    'seq',
    String(event.seq),
    'position',
    formatPosition({ partition, offset }),
    'previous_position',
    previous === null ? '' : formatPosition({ partition, offset: previous }),
  ]
}
