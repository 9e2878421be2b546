// recorder → audit → [Postgres] → notifier (the port NotifierStore of consumers/notifier.ts)

import type { Client, Pool } from 'pg'
import type { NotifierNext, NotifierStore } from '../consumers/notifier.ts'
import type { EventToTell } from '../workflow/notification.ts'
import { READER as RECORDER, RECORDED_CHANNEL } from './recorder-store.ts'

const NOTIFIER = 'notifier'
/** How long the lease lasts without being renewed, s. */
const LEASE = 6
/** How often it is renewed, ms. */
const RENEW = 2000

const LEAD = `
  INSERT INTO refold.leases AS l (name, owner, expires_at) VALUES ('${NOTIFIER}', $1, now() + interval '${LEASE} seconds')
  ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at WHERE l.owner = excluded.owner OR l.expires_at < now()`

const EVENT = `
    SELECT event_id, execution_id, event_name, event_type, tenant, (extract(epoch FROM created_at) * 1000)::bigint AS created_at, user_id,
           from_state, to_state, payload, seq, log_offset
    FROM refold.workflow_events`

const EVENTS = `${EVENT} WHERE partition = $1 AND log_offset >= $2 AND log_offset < $3 ORDER BY log_offset LIMIT $4`

const MOVED = `
  m AS (SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) AS m(partition, old, next, last)),
  moved AS (
    INSERT INTO refold.checkpoints AS c (reader, partition, next_offset, last_offset)
    SELECT '${NOTIFIER}', partition, next, last FROM m ORDER BY partition
    ON CONFLICT (reader, partition) DO UPDATE SET next_offset = excluded.next_offset, last_offset = excluded.last_offset, moved_at = now()
    WHERE c.next_offset = (SELECT old FROM m WHERE m.partition = c.partition)
    RETURNING partition, next_offset, last_offset)`

// One statement a round: what was sent is noted, and the next of each partition read, $5 events of all that have any.
const NEXT = `
  WITH ${MOVED},
  places AS (
    SELECT r.partition, r.next_offset AS recorded, coalesce(m.next_offset, n.next_offset, 0) AS next,
           CASE WHEN m.partition IS NULL THEN n.last_offset ELSE m.last_offset END AS last
    FROM refold.checkpoints r LEFT JOIN refold.checkpoints n ON n.reader = '${NOTIFIER}' AND n.partition = r.partition
         LEFT JOIN moved m ON m.partition = r.partition
    WHERE r.reader = '${RECORDER}'),
  page AS (SELECT ceil($5::float8 / greatest(1, count(*)))::int AS size FROM places WHERE next < recorded)
  SELECT p.*, page.size, e.* FROM places p CROSS JOIN page
  LEFT JOIN LATERAL (
    ${EVENT} WHERE p.next < p.recorded AND partition = p.partition AND log_offset >= p.next AND log_offset < p.recorded
    ORDER BY log_offset LIMIT page.size) e ON true
  ORDER BY p.partition, e.log_offset`

const NEWEST = `
  SELECT e.partition, e.log_offset, extract(epoch FROM e.appended_at) AS at
  FROM refold.checkpoints c CROSS JOIN LATERAL (
    SELECT partition, log_offset, appended_at FROM refold.workflow_events
    WHERE partition = c.partition AND log_offset < c.next_offset ORDER BY log_offset DESC LIMIT $1) e
  WHERE c.reader = '${NOTIFIER}' ORDER BY e.appended_at DESC, e.log_offset DESC LIMIT $1`

type EventRow = Omit<EventToTell, 'created_at' | 'seq' | 'offset' | 'partition'> & { created_at: string; seq: string; log_offset: string }
type PlaceRow = { partition: number; recorded: string; next: string; last: string | null; size: number }

const eventOf = (partition: number, row: EventRow): EventToTell => ({
  event_id: row.event_id,
  execution_id: row.execution_id,
  event_name: row.event_name,
  event_type: row.event_type,
  tenant: row.tenant,
  created_at: Number(row.created_at),
  user_id: row.user_id,
  from_state: row.from_state,
  to_state: row.to_state,
  payload: row.payload,
  seq: Number(row.seq),
  partition,
  offset: Number(row.log_offset),
})

function nextOf(rows: readonly (PlaceRow & (EventRow | { log_offset: null }))[]): NotifierNext[] {
  return [...Map.groupBy(rows, ({ partition }) => partition)].flatMap(([partition, own]) => {
    const [first] = own
    if (!first) return []
    const events = own.flatMap((row) => (row.log_offset === null ? [] : [eventOf(partition, row)]))
    const [recorded, newest] = [Number(first.recorded), events.at(-1)]
    const read = newest && events.length === first.size ? newest.offset + 1 : recorded
    return [{ partition, recorded, next: Number(first.next), last: first.last === null ? null : Number(first.last), read, events }]
  })
}

/** `pool` connects as refold_engine. */
export function createNotifierStore(pool: Pool, owner: string): NotifierStore {
  let leadsUntil = -Infinity

  return {
    async lead() {
      const asked = performance.now()
      if (asked < leadsUntil) return true
      const { rowCount } = await pool.query({ name: 'notifier-lead', text: LEAD, values: [owner] })
      if (rowCount === 1) leadsUntil = asked + RENEW
      return rowCount === 1
    },
    async resign() {
      leadsUntil = -Infinity
      await pool.query('DELETE FROM refold.leases WHERE name = $1 AND owner = $2', [NOTIFIER, owner])
    },
    async next(moves, limit) {
      const { rows } = await pool.query<PlaceRow & EventRow>({
        name: 'notifier-next',
        text: NEXT,
        values: [
          moves.map(({ partition }) => partition),
          moves.map(({ from }) => from),
          moves.map(({ next }) => next),
          moves.map(({ last }) => last),
          limit,
        ],
      })
      return nextOf(rows)
    },
    async events({ partition, from, before }, limit) {
      const { rows } = await pool.query<EventRow>({ name: 'notifier-events', text: EVENTS, values: [partition, from, before, limit] })
      return rows.map((row) => eventOf(partition, row))
    },
    async lastBelow(partition, offset) {
      const { rows } = await pool.query<{ last: string | null }>(
        'SELECT max(log_offset) AS last FROM refold.workflow_events WHERE partition = $1 AND log_offset < $2',
        [partition, offset],
      )
      const last = rows[0]?.last ?? null
      return last === null ? null : Number(last)
    },
    async newest(count) {
      const { rows } = await pool.query<{ partition: number; log_offset: string }>(NEWEST, [count])
      const begins = new Map<number, number>()
      for (const { partition, log_offset: offset } of rows)
        begins.set(partition, Math.min(begins.get(partition) ?? Infinity, Number(offset)))
      return begins
    },
  }
}

/** Listens for what the recorder tells, `<partition>:<next>` with spaces between, until the connection ends; the connection is the caller's to end. */
export async function listenForRecorded(client: Client, told: (place?: string) => void): Promise<void> {
  client.on('notification', ({ payload }) => told(payload))
  await client.connect()
  await client.query(`LISTEN ${RECORDED_CHANNEL}`)
}
