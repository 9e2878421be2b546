// Reads of workflow_executions. JSON columns come as their text, times as ISO 8601 in UTC, 64-bit numbers as text or
// as numbers where they are known to be small.

import { sql } from 'slonik'
import { z } from 'zod'
import { readWithCheckpoints, type Read } from './checkpoints.ts'
import type { ReadPool } from './pool.ts'
import { timeText } from './time.ts'

const row = z.object({
  execution_id: z.string(),
  tenant: z.string(),
  partition: z.number(),
  status: z.string(),
  current_state: z.string(),
  data: z.string(),
  last_seq: z.string(),
  last_offset: z.string(),
  workflow_name: z.string().nullable(),
  workflow_version: z.string().nullable(),
  business_key: z.string().nullable(),
  correlation_id: z.string().nullable(),
  result: z.string().nullable(),
  error: z.string().nullable(),
  opened_at: z.string(),
  changed_at: z.string(),
})

/** An execution as it stands; `data`, `result` and `error` are JSON text. */
export type ExecutionRow = z.infer<typeof row>

/** Where a page ends: opened_at in microseconds since 1970, and the id. */
export type ExecutionCursor = { openedAt: string; executionId: string }

export type ExecutionFilter = {
  key?: string | undefined
  workflow?: string | undefined
  state?: string | undefined
  status?: string | undefined
  correlationId?: string | undefined
  /** Opened at or after this ISO 8601 time. */
  since?: string | undefined
  limit: number
  after?: ExecutionCursor | undefined
}

/** Newest first; `next` is where the following page begins, absent on the last. */
export type ExecutionPage = { rows: readonly ExecutionRow[]; next?: ExecutionCursor }

const COLUMNS = sql.fragment`
  execution_id, tenant, partition, status, current_state, data::text AS data, last_seq::text AS last_seq,
  last_offset::text AS last_offset, workflow_name, workflow_version, business_key, correlation_id,
  result::text AS result, error::text AS error,
  ${timeText('opened_at')}, ${timeText('changed_at')}`

export function readExecution(
  pool: ReadPool,
  tenant: string,
  executionId: string,
  partition: number,
): Promise<Read<ExecutionRow | undefined>> {
  return readWithCheckpoints(pool, tenant, partition, async (transaction) => {
    const found = await transaction.maybeOne(sql.type(row)`
      SELECT ${COLUMNS} FROM refold.workflow_executions WHERE tenant = ${tenant} AND execution_id = ${executionId}`)
    return found ?? undefined
  })
}

function conditions(tenant: string, filter: ExecutionFilter) {
  const all = [sql.fragment`tenant = ${tenant}`]
  if (filter.key !== undefined) all.push(sql.fragment`business_key = ${filter.key}`)
  if (filter.workflow !== undefined) all.push(sql.fragment`workflow_name = ${filter.workflow}`)
  if (filter.state !== undefined) all.push(sql.fragment`current_state = ${filter.state}`)
  if (filter.status !== undefined) all.push(sql.fragment`status = ${filter.status}`)
  if (filter.correlationId !== undefined) all.push(sql.fragment`correlation_id = ${filter.correlationId}`)
  if (filter.since !== undefined) all.push(sql.fragment`opened_at >= ${filter.since}::timestamptz`)
  if (filter.after !== undefined) {
    const { openedAt, executionId } = filter.after
    all.push(sql.fragment`(opened_at, execution_id) <
      (timestamptz 'epoch' + ${openedAt}::bigint * interval '1 microsecond', ${executionId}::uuid)`)
  }
  return sql.join(all, sql.fragment` AND `)
}

const listed = row.extend({ micros: z.string() })

export function readExecutions(pool: ReadPool, tenant: string, filter: ExecutionFilter): Promise<Read<ExecutionPage>> {
  return readWithCheckpoints(pool, tenant, 'all', async (transaction) => {
    const found = await transaction.any(sql.type(listed)`
      SELECT ${COLUMNS}, (extract(epoch FROM opened_at) * 1000000)::bigint::text AS micros
      FROM refold.workflow_executions e WHERE ${conditions(tenant, filter)}
      ORDER BY e.opened_at DESC, e.execution_id DESC LIMIT ${filter.limit + 1}`)
    const rows = found.slice(0, filter.limit)
    const last = rows.at(-1)
    return found.length > rows.length && last ? { rows, next: { openedAt: last.micros, executionId: last.execution_id } } : { rows }
  })
}

/** Those of these executions that have ended. */
export function readEnded(pool: ReadPool, tenant: string, executionIds: readonly string[]): Promise<readonly ExecutionRow[]> {
  return pool.read(tenant, (transaction) =>
    transaction.any(sql.type(row)`
      SELECT ${COLUMNS} FROM refold.workflow_executions
      WHERE tenant = ${tenant} AND execution_id = ANY (${sql.array([...executionIds], 'uuid')})
        AND status IN ('completed', 'failed', 'cancelled', 'terminated')`),
  )
}
