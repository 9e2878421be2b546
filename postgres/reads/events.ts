// Reads of the audit.

import { sql } from 'slonik'
import { z } from 'zod'
import { type Checkpoints, readWithCheckpoints, type Read } from './checkpoints.ts'
import type { ReadPool, Transaction } from './pool.ts'
import { timeText } from './time.ts'

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
  ${timeText('created_at')},
  causation_id, correlation_id, decision, seq::text AS seq, partition, log_offset::text AS log_offset,
  ${timeText('appended_at')}`

const known = (tenant: string, executionId: string) => sql.type(z.object({ known: z.boolean() }))`
  SELECT EXISTS (SELECT FROM refold.workflow_events WHERE tenant = ${tenant} AND execution_id = ${executionId}) AS known`

/** The tenant has an accepted event of this execution. */
export const executionIsKnown = async (transaction: Transaction, tenant: string, executionId: string): Promise<boolean> =>
  (await transaction.one(known(tenant, executionId))).known

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
    return (await executionIsKnown(transaction, tenant, executionId)) ? [] : undefined
  })
}

/** A stretch of a tenant's accepted events, and the positions to go on after. */
export type EventPage = { rows: readonly EventRow[]; next: ReadonlyMap<number, number>; more: boolean }

/**
 * A tenant's accepted events after the positions given (partition → offset; none = from the first), in the order of the
 * log within each partition. Each partition gets the same share of `limit`, so none waits for another.
 *
 * `next` goes up to the checkpoint where a partition has nothing more: the events of other tenants are not looked at again.
 */
export function readEventsAfter(
  pool: ReadPool,
  tenant: string,
  { after, limit }: { after: Checkpoints; limit: number },
): Promise<Read<EventPage>> {
  return readWithCheckpoints(pool, tenant, 'all', async (transaction, checkpoints) => {
    const partitions = [...checkpoints.keys()]
    const share = Math.max(1, Math.floor(limit / Math.max(1, partitions.length)))
    const wanted = sql.unnest(
      partitions.map((partition) => [partition, after.get(partition) ?? -1]),
      ['int4', 'int8'],
    )
    const rows = await transaction.any(sql.type(row)`
      SELECT ${COLUMNS} FROM ${wanted} AS w (wanted_partition, after_offset) CROSS JOIN LATERAL (
        SELECT * FROM refold.workflow_events a
        WHERE a.partition = w.wanted_partition AND a.log_offset > w.after_offset AND a.tenant = ${tenant}
        ORDER BY a.log_offset LIMIT ${share}) e
      ORDER BY e.partition, e.log_offset`)
    return pageOf(rows, share, after, checkpoints)
  })
}

function pageOf(rows: readonly EventRow[], share: number, after: Checkpoints, checkpoints: Checkpoints): EventPage {
  const next = new Map(after)
  let more = false
  for (const [partition, checkpoint] of checkpoints) {
    const own = rows.filter((event) => event.partition === partition)
    const last = own.at(-1)
    const full = own.length === share
    more ||= full
    const reached = full && last ? Number(last.log_offset) : Math.max(checkpoint - 1, Number(last?.log_offset ?? -1))
    if (reached > (after.get(partition) ?? -1)) next.set(partition, reached)
  }
  return { rows, next, more }
}
