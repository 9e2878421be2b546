// recorder → audit → [Postgres] → notifier (the port NotifierStore of consumers/notifier.ts)

import type { Client, Pool } from 'pg'
import type { NotifierStore } from '../consumers/notifier.ts'
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

const PLACES = `
  SELECT r.partition, r.next_offset AS recorded, coalesce(n.next_offset, 0) AS next, n.last_offset AS last
  FROM refold.checkpoints r LEFT JOIN refold.checkpoints n ON n.reader = '${NOTIFIER}' AND n.partition = r.partition
  WHERE r.reader = '${RECORDER}' ORDER BY r.partition`

const EVENTS = `
  SELECT e.* FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS r(partition, first, before) CROSS JOIN LATERAL (
    SELECT event_id, execution_id, event_name, event_type, tenant, (extract(epoch FROM created_at) * 1000)::bigint AS created_at, user_id,
           from_state, to_state, payload, seq, partition, log_offset
    FROM refold.workflow_events WHERE partition = r.partition AND log_offset >= r.first AND log_offset < r.before
    ORDER BY log_offset LIMIT $4) e
  ORDER BY e.partition, e.log_offset`

const MOVE = `
  WITH m AS (SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[]) AS m(partition, old, next, last))
  INSERT INTO refold.checkpoints AS c (reader, partition, next_offset, last_offset)
  SELECT '${NOTIFIER}', partition, next, last FROM m ORDER BY partition
  ON CONFLICT (reader, partition) DO UPDATE SET next_offset = excluded.next_offset, last_offset = excluded.last_offset, moved_at = now()
  WHERE c.next_offset = (SELECT old FROM m WHERE m.partition = c.partition)`

const NEWEST = `
  SELECT e.partition, e.log_offset, extract(epoch FROM e.appended_at) AS at
  FROM refold.checkpoints c CROSS JOIN LATERAL (
    SELECT partition, log_offset, appended_at FROM refold.workflow_events
    WHERE partition = c.partition AND log_offset < c.next_offset ORDER BY log_offset DESC LIMIT $1) e
  WHERE c.reader = '${NOTIFIER}' ORDER BY e.appended_at DESC, e.log_offset DESC LIMIT $1`

type EventRow = Omit<EventToTell, 'created_at' | 'seq' | 'offset'> & { created_at: string; seq: string; log_offset: string }

/** `pool` connects as refold_engine. `woken` is called when something was recorded; where nobody calls it, only time wakes. */
export function createNotifierStore(pool: Pool, owner: string): NotifierStore & { woken(): void } {
  let news = Promise.withResolvers<void>()
  let leadsUntil = -Infinity

  return {
    woken: () => news.resolve(),
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
    async places() {
      news = Promise.withResolvers()
      const { rows } = await pool.query<{ partition: number; recorded: string; next: string; last: string | null }>({
        name: 'notifier-places',
        text: PLACES,
      })
      return rows.map(({ partition, recorded, next, last }) => ({
        partition,
        recorded: Number(recorded),
        next: Number(next),
        last: last === null ? null : Number(last),
      }))
    },
    async events(ranges, limit) {
      const { rows } = await pool.query<EventRow>({
        name: 'notifier-events',
        text: EVENTS,
        values: [ranges.map(({ partition }) => partition), ranges.map(({ from }) => from), ranges.map(({ before }) => before), limit],
      })
      return rows.map(({ created_at: createdAt, seq, log_offset: offset, ...event }) => ({
        ...event,
        created_at: Number(createdAt),
        seq: Number(seq),
        offset: Number(offset),
      }))
    },
    async move(moves) {
      if (moves.length === 0) return
      await pool.query({
        name: 'notifier-move',
        text: MOVE,
        values: [
          moves.map(({ partition }) => partition),
          moves.map(({ from }) => from),
          moves.map(({ next }) => next),
          moves.map(({ last }) => last),
        ],
      })
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
    async wait(ms) {
      const late = Promise.withResolvers<void>()
      const timer = setTimeout(late.resolve, ms)
      await Promise.race([news.promise, late.promise])
      clearTimeout(timer)
    },
  }
}

/** Listens for what the recorder tells, `<partition>:<next>`, until the connection ends; the connection is the caller's to end. */
export async function listenForRecorded(client: Client, told: (place?: string) => void): Promise<void> {
  client.on('notification', ({ payload }) => told(payload))
  await client.connect()
  await client.query(`LISTEN ${RECORDED_CHANNEL}`)
}
