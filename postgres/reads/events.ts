// Reads of the audit.

import { sql } from 'slonik'
import { z } from 'zod'
import { readWithCheckpoints, type Read } from './checkpoints.ts'
import type { ReadPool } from './pool.ts'

const row = z.object({
  event_id: z.string(),
  tenant: z.string(),
  execution_id: z.string(),
  event_name: z.string(),
  event_type: z.string(),
  from_state: z.string(),
  to_state: z.string(),
  user_id: z.string().nullable(),
  payload: z.string().nullable(),
  created_at: z.string(),
  causation_id: z.string().nullable(),
  correlation_id: z.string().nullable(),
  decision: z.number(),
  seq: z.string(),
  partition: z.number(),
  log_offset: z.string(),
  appended_at: z.string(),
})

/** An accepted event; `payload` is JSON text, times are ISO 8601 in UTC. */
export type EventRow = z.infer<typeof row>

const COLUMNS = sql.fragment`
  event_id, tenant, execution_id, event_name, event_type, from_state, to_state, user_id, payload,
  to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS created_at,
  causation_id, correlation_id, decision, seq::text AS seq, partition, log_offset::text AS log_offset,
  to_char(appended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS appended_at`

const known = (tenant: string, executionId: string) => sql.type(z.object({ known: z.boolean() }))`
  SELECT EXISTS (SELECT FROM refold.workflow_events WHERE tenant = ${tenant} AND execution_id = ${executionId}) AS known`

/** Events of one execution after seq `after`, in seq order; undefined when there is no such execution. */
export function readHistory(
  pool: ReadPool,
  tenant: string,
  executionId: string,
  partition: number,
  { after, limit }: { after: number; limit: number },
): Promise<Read<EventRow[] | undefined>> {
  return readWithCheckpoints(pool, tenant, partition, async (transaction) => {
    const rows = await transaction.any(sql.type(row)`
      SELECT ${COLUMNS} FROM refold.workflow_events e
      WHERE tenant = ${tenant} AND execution_id = ${executionId} AND e.seq > ${after}
      ORDER BY e.seq LIMIT ${limit}`)
    if (rows.length > 0) return [...rows]
    return (await transaction.one(known(tenant, executionId))).known ? [] : undefined
  })
}
