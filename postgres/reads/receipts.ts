// What became of an event that was sent: every record that carried its id, and what the recorder said of each.

import { sql } from 'slonik'
import { z } from 'zod'
import { readWithCheckpoints, type Read } from './checkpoints.ts'
import type { ReadPool } from './pool.ts'
import { timeText } from './time.ts'

const row = z.object({
  partition: z.number(),
  log_offset: z.string(),
  verdict: z.string(),
  seq: z.string().nullable(),
  reason: z.string().nullable(),
  detail: z.string().nullable(),
  appended_at: z.string(),
})

/** One record that carried the id; `seq` of an accepted one. Times are ISO 8601 in UTC. */
export type ReceiptRow = z.infer<typeof row>

/** Most records told of one event: somebody may send it again for ever. */
const MOST = 100

/** In the order of the log; empty when no record with this id is decided. */
export function readReceipt(
  pool: ReadPool,
  tenant: string,
  executionId: string,
  eventId: string,
  partition: number,
): Promise<Read<readonly ReceiptRow[]>> {
  return readWithCheckpoints(pool, tenant, partition, (transaction) =>
    transaction.any(sql.type(row)`
      SELECT r.partition, r.log_offset::text AS log_offset, r.verdict, r.seq::text AS seq, r.reason, r.detail, ${timeText('appended_at')}
      FROM (
        SELECT partition, log_offset, 'accepted' AS verdict, seq, NULL AS reason, NULL AS detail, appended_at FROM refold.workflow_events
        WHERE tenant = ${tenant} AND execution_id = ${executionId}::uuid AND event_id = ${eventId}::uuid
        UNION ALL
        SELECT partition, log_offset, verdict, NULL, reason, detail, appended_at FROM refold.event_verdicts
        WHERE tenant = ${tenant} AND execution_id = ${executionId} AND event_id = ${eventId}
      ) r ORDER BY r.partition, r.log_offset LIMIT ${MOST}`),
  )
}

export type Sent = { executionId: string; eventId: string }

const content = z.object({ execution_id: z.string(), event_id: z.string(), content: z.string() })

/** Content digests (hex) of the events accepted under these ids; keys as `<execution>/<event>`. */
export function readContents(pool: ReadPool, tenant: string, sent: readonly Sent[]): Promise<ReadonlyMap<string, string>> {
  const wanted = sql.unnest(
    sent.map(({ executionId, eventId }) => [executionId, eventId]),
    ['uuid', 'uuid'],
  )
  return pool.read(tenant, async (transaction) => {
    const rows = await transaction.any(sql.type(content)`
      SELECT e.execution_id, e.event_id, encode(e.content, 'hex') AS content
      FROM ${wanted} AS w (execution_id, event_id)
      JOIN refold.workflow_events e ON e.tenant = ${tenant} AND e.execution_id = w.execution_id AND e.event_id = w.event_id`)
    return new Map(rows.map((found) => [`${found.execution_id}/${found.event_id}`, found.content]))
  })
}
