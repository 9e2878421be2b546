// The snapshots kept of an execution, and whether replay would use them.

import { sql } from 'slonik'
import { z } from 'zod'
import { isIntact, openSnapshot } from '../../workflow/snapshot.ts'
import { type Read, readWithCheckpoints } from './checkpoints.ts'
import { executionIsKnown } from './events.ts'
import type { ReadPool } from './pool.ts'
import { timeText } from './time.ts'

const row = z.object({
  seq: z.string().transform(Number),
  fold_version: z.number(),
  state: z.string(),
  digest: z.string(),
  recorded_until: z.string(),
  created_until: z.string(),
})

/** `bytes` of its state as JSON text; times are ISO 8601 in UTC. */
export type SnapshotRow = {
  seq: number
  foldVersion: number
  bytes: number
  recordedUntil: string
  createdUntil: string
  /** Its digest fits. */
  intact: boolean
  /** Intact, and of the fold in use. */
  usable: boolean
}

/** The newest first; undefined when the tenant has no such execution. */
export function readSnapshots(
  pool: ReadPool,
  tenant: string,
  executionId: string,
  partition: number,
): Promise<Read<readonly SnapshotRow[] | undefined>> {
  return readWithCheckpoints(pool, tenant, partition, async (transaction) => {
    const rows = await transaction.any(sql.type(row)`
      SELECT s.seq::text AS seq, fold_version, state, digest, ${timeText('recorded_until')}, ${timeText('created_until')}
      FROM refold.workflow_snapshots s WHERE tenant = ${tenant} AND execution_id = ${executionId} ORDER BY s.seq DESC`)
    if (rows.length === 0 && !(await executionIsKnown(transaction, tenant, executionId))) return undefined
    return rows.map(({ seq, fold_version: foldVersion, state, digest, recorded_until, created_until }) => {
      const snapshot = { tenant, executionId, seq, foldVersion, state, digest }
      return {
        seq,
        foldVersion,
        bytes: Buffer.byteLength(state),
        recordedUntil: recorded_until,
        createdUntil: created_until,
        intact: isIntact(snapshot),
        usable: openSnapshot(snapshot) !== undefined,
      }
    })
  })
}
