// What the recorder said of records, by their positions.

import { sql } from 'slonik'
import { z } from 'zod'
import { formatPosition, type Position } from '../../workflow/position.ts'
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
})

export type FoundVerdict = { verdict: 'accepted'; seq: number } | { verdict: string; reason: string; detail: string }

function verdictOf({ verdict, seq, reason, detail }: z.infer<typeof row>): FoundVerdict {
  return seq === null ? { verdict, reason: reason ?? '', detail: detail ?? '' } : { verdict: 'accepted', seq: Number(seq) }
}

/** Verdicts by position, written `p7:120345`; positions not decided yet, or of another tenant, are left out. */
export function readVerdicts(
  pool: ReadPool,
  tenant: string,
  positions: readonly Position[],
): Promise<Read<ReadonlyMap<string, FoundVerdict>>> {
  const wanted = sql.unnest(
    positions.map(({ partition, offset }) => [partition, offset]),
    ['int4', 'int8'],
  )
  return readWithCheckpoints(pool, tenant, 'all', async (transaction) => {
    const rows = await transaction.any(sql.type(row)`
      SELECT w.partition, w.log_offset::text AS log_offset, coalesce(v.verdict, 'accepted') AS verdict, e.seq::text AS seq, v.reason, v.detail
      FROM ${wanted} AS w (partition, log_offset)
      LEFT JOIN refold.workflow_events e USING (partition, log_offset)
      LEFT JOIN refold.event_verdicts v USING (partition, log_offset)
      WHERE e.seq IS NOT NULL OR v.verdict IS NOT NULL`)
    return new Map(
      rows.map((found) => [formatPosition({ partition: found.partition, offset: Number(found.log_offset) }), verdictOf(found)]),
    )
  })
}

const refusal = z.object({
  partition: z.number(),
  log_offset: z.string(),
  verdict: z.string(),
  reason: z.string(),
  detail: z.string(),
  tenant: z.string().nullable(),
  execution_id: z.string().nullable(),
  event_id: z.string().nullable(),
  event_name: z.string().nullable(),
  appended_at: z.string(),
  decided_at: z.string(),
})

/** A record that was not accepted. */
export type RefusalRow = z.infer<typeof refusal>

export type RefusalFilter = {
  verdict?: string | undefined
  reason?: string | undefined
  executionId?: string | undefined
  limit: number
  /** Only those decided before this one. */
  before?: Position | undefined
  /** Records whose tenant could not be read too: for operators. */
  nobodys: boolean
}

/** Newest positions first, partition by partition; `next` is where the following page begins. */
export type RefusalPage = { rows: readonly RefusalRow[]; next?: Position }

function refusalConditions(tenant: string, { verdict, reason, executionId, before, nobodys }: RefusalFilter) {
  const all = [nobodys ? sql.fragment`(tenant = ${tenant} OR tenant IS NULL)` : sql.fragment`tenant = ${tenant}`]
  if (verdict !== undefined) all.push(sql.fragment`verdict = ${verdict}`)
  if (reason !== undefined) all.push(sql.fragment`reason = ${reason}`)
  if (executionId !== undefined) all.push(sql.fragment`execution_id = ${executionId}`)
  if (before !== undefined) all.push(sql.fragment`(partition, log_offset) < (${before.partition}, ${before.offset})`)
  return sql.join(all, sql.fragment` AND `)
}

export function readRefusals(pool: ReadPool, tenant: string, filter: RefusalFilter): Promise<Read<RefusalPage>> {
  return readWithCheckpoints(
    pool,
    tenant,
    'all',
    async (transaction) => {
      const found = await transaction.any(sql.type(refusal)`
      SELECT partition, log_offset::text AS log_offset, verdict, reason, detail, tenant, execution_id, event_id, event_name,
        ${timeText('appended_at')}, ${timeText('decided_at')}
      FROM refold.event_verdicts v WHERE ${refusalConditions(tenant, filter)}
      ORDER BY v.partition DESC, v.log_offset DESC LIMIT ${filter.limit + 1}`)
      const rows = found.slice(0, filter.limit)
      const last = rows.at(-1)
      if (found.length === rows.length || !last) return { rows }
      return { rows, next: { partition: last.partition, offset: Number(last.log_offset) } }
    },
    filter.nobodys,
  )
}

const judged = z.object({
  verdict: z.string(),
  seq: z.string().nullable(),
  reason: z.string().nullable(),
  detail: z.string().nullable(),
  tenant: z.string().nullable(),
  execution_id: z.string().nullable(),
  event_id: z.string().nullable(),
  event_name: z.string().nullable(),
  record_key: z.string().nullable(),
  record_value: z.string().nullable(),
  appended_at: z.string(),
  decided_at: z.string().nullable(),
})

/** The verdict on one record; what is kept of its key and value in base64, of those not accepted. */
export type JudgedRow = z.infer<typeof judged>

const base64 = (column: string) =>
  sql.fragment`translate(encode(${sql.identifier([column])}, 'base64'), E'\\n', '') AS ${sql.identifier([column])}`

/** `nobodys`: also a record whose tenant could not be read. Undefined when it is another's, or none is judged there. */
export function readVerdict(
  pool: ReadPool,
  tenant: string,
  { partition, offset }: Position,
  nobodys: boolean,
): Promise<Read<JudgedRow | undefined>> {
  return readWithCheckpoints(
    pool,
    tenant,
    partition,
    async (transaction) => {
      const found = await transaction.maybeOne(sql.type(judged)`
      SELECT 'accepted' AS verdict, seq::text AS seq, NULL AS reason, NULL AS detail, tenant, execution_id::text AS execution_id,
        event_id::text AS event_id, event_name, NULL AS record_key, NULL AS record_value, ${timeText('appended_at')}, NULL AS decided_at
      FROM refold.workflow_events WHERE tenant = ${tenant} AND partition = ${partition} AND log_offset = ${offset}
      UNION ALL
      SELECT verdict, NULL, reason, detail, tenant, execution_id, event_id, event_name, ${base64('record_key')}, ${base64('record_value')},
        ${timeText('appended_at')}, ${timeText('decided_at')}
      FROM refold.event_verdicts
      WHERE (tenant = ${tenant} OR (${nobodys} AND tenant IS NULL)) AND partition = ${partition} AND log_offset = ${offset}`)
      return found ?? undefined
    },
    nobodys,
  )
}
