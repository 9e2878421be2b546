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
  /** As they were sent, where those differ from the computed ones. */
  sent_from_state: z.string().nullable(),
  sent_to_state: z.string().nullable(),
  user_id: z.string().nullable(),
  payload: z.string().nullable(),
  created_at: z.string(),
  causation_id: z.string().nullable(),
  correlation_id: z.string().nullable(),
  workflow_name: z.string().nullable(),
  business_key: z.string().nullable(),
  decision: z.number(),
  seq: z.string(),
  partition: z.number(),
  log_offset: z.string(),
  appended_at: z.string(),
})

/** An accepted event; `payload` is JSON text, times are ISO 8601 in UTC. */
export type EventRow = z.infer<typeof row>

const COLUMNS = sql.fragment`
  event_id, tenant, execution_id, event_name, event_type, from_state, to_state, sent_from_state, sent_to_state, user_id, payload,
  ${timeText('created_at')},
  causation_id, correlation_id, workflow_name, business_key, decision, seq::text AS seq, partition, log_offset::text AS log_offset,
  ${timeText('appended_at')}`

const knownRow = z.object({ known: z.boolean() })
const known = (tenant: string, executionId: string) => sql.type(knownRow)`
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
 * Records of all tenants that one page looks at, over all partitions. The log is not indexed by tenant (that would cost the
 * recorder more than it gives readers, who pass each record once), so a tenant with few events reads past those of others:
 * in pages of bounded time, some of them empty. 600,000 rows of others took 460 ms unbounded, with 12 partitions.
 */
const LOOKED_AT = 200_000

/**
 * A tenant's accepted events after the positions given (partition → offset; none = from the first), in the order of the
 * log within each partition. Each partition gets the same share of `limit`, so none waits for another.
 *
 * `next` passes the events of other tenants too: they are not looked at again. A page may be empty and have more.
 */
export function readEventsAfter(
  pool: ReadPool,
  tenant: string,
  { after, limit, lookAt = LOOKED_AT }: { after: Checkpoints; limit: number; lookAt?: number },
): Promise<Read<EventPage>> {
  return readWithCheckpoints(pool, tenant, 'all', async (transaction, checkpoints) => {
    const partitions = [...checkpoints.keys()]
    const share = Math.max(1, Math.floor(limit / Math.max(1, partitions.length)))
    const stretch = Math.max(1, Math.floor(lookAt / Math.max(1, partitions.length)))
    const until = new Map(
      [...checkpoints].map(([partition, next]) => [partition, Math.min(next - 1, (after.get(partition) ?? -1) + stretch)]),
    )
    const wanted = sql.unnest(
      partitions.map((partition) => [partition, after.get(partition) ?? -1, until.get(partition) ?? -1]),
      ['int4', 'int8', 'int8'],
    )
    const rows = await transaction.any(sql.type(row)`
      SELECT ${COLUMNS} FROM ${wanted} AS w (wanted_partition, after_offset, until_offset) CROSS JOIN LATERAL (
        SELECT * FROM refold.workflow_events a
        WHERE a.partition = w.wanted_partition AND a.log_offset > w.after_offset AND a.log_offset <= w.until_offset AND a.tenant = ${tenant}
        ORDER BY a.log_offset LIMIT ${share}) e
      ORDER BY e.partition, e.log_offset`)
    return pageOf(rows, share, after, until, checkpoints)
  })
}

function pageOf(rows: readonly EventRow[], share: number, after: Checkpoints, until: Checkpoints, checkpoints: Checkpoints): EventPage {
  const next = new Map(after)
  let more = false
  for (const [partition, checkpoint] of checkpoints) {
    const own = rows.filter((event) => event.partition === partition)
    const last = own.at(-1)
    const full = own.length === share
    const looked = until.get(partition) ?? -1
    const reached = full && last ? Number(last.log_offset) : looked
    more ||= full || looked < checkpoint - 1
    if (reached > (after.get(partition) ?? -1)) next.set(partition, reached)
  }
  return { rows, next, more }
}
