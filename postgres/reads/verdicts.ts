// What the recorder said of records, by their positions.

import { sql } from 'slonik'
import { z } from 'zod'
import { formatPosition, type Position } from '../../workflow/position.ts'
import { readWithCheckpoints, type Read } from './checkpoints.ts'
import type { ReadPool } from './pool.ts'

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
