// A notification as a reader sees it: fields picked by name, so that new ones break nobody; '' = absent.

export type Notification = {
  /** Of the stream's entry. */
  id: string
  eventId: string
  executionId: string
  eventName: string
  eventType: string
  tenant: string
  /** ISO 8601, UTC: when it happened. */
  timestamp: string
  userId: string | null
  fromState: string | null
  toState: string | null
  /** JSON text; `{}` without a payload. */
  payloadJson: string
  /** Number of the event within its execution; null of an older notifier. */
  seq: number | null
  /** Where it is in the log, p7:120345; '' of an older notifier. */
  position: string
  /** Position of the accepted event before it in its partition. */
  previousPosition: string | null
}

export function readNotification(id: string, fields: readonly string[]): Notification {
  const named = new Map<string, string>()
  for (let i = 0; i + 1 < fields.length; i += 2) named.set(fields[i] ?? '', fields[i + 1] ?? '')
  const text = (name: string) => named.get(name) ?? ''
  const orNull = (name: string) => (text(name) === '' ? null : text(name))
  return {
    id,
    eventId: text('event_id'),
    executionId: text('execution_id'),
    eventName: text('event_name'),
    eventType: text('event_type'),
    tenant: text('tenant'),
    timestamp: text('timestamp'),
    userId: orNull('user_id'),
    fromState: orNull('from_state'),
    toState: orNull('to_state'),
    payloadJson: text('payload_json') || '{}',
    seq: orNull('seq') === null ? null : Number(text('seq')),
    position: text('position'),
    previousPosition: orNull('previous_position'),
  }
}
