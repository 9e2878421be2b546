// How far what people read is behind the log's end, over all processes: a build backs off for it (consumers/back-off.ts), so that it
// leaves room for live traffic. A process's own readers would not do: partitions move, and the live generation may be another process's.

import type { Pool } from 'pg'
import type { PartitionBounds } from '../kafka/log.ts'

/** Asked at most so often, ms: builds ask at each of their batches. */
const EVERY = 1000

// No lag of one that is parked, stopped, or folded by nobody: it would keep builds back for as long as that lasts. The recorder's counts
// all the same, for recorders don't tell that they run. What a build loses by that has a bound (consumers/back-off.ts).
const LAG = `
  SELECT coalesce(sum(greatest(0, e.high - c.next_offset)), 0)::text AS lag
  FROM refold.checkpoints c JOIN unnest($1::int[], $2::bigint[]) AS e (partition, high) USING (partition)
  WHERE c.parked_at IS NULL AND (c.reader = 'recorder' OR $3 AND c.reader IN (
    SELECT p.name || '@g' || p.live_generation FROM refold.projections p WHERE p.stopped_at IS NULL AND EXISTS (
      SELECT FROM refold.processes s WHERE s.seen_at > now() - interval '30 seconds' AND p.name || '@g' || p.live_generation = ANY (s.generations))))`

/** Gives the records that the recorder, or it and the live generations of all projections, are behind. */
export function createLiveLag(
  pool: Pick<Pool, 'query'>,
  ends: () => Promise<readonly PartitionBounds[]>,
  of: 'recorder' | 'all',
  now = () => performance.now(),
): () => Promise<number> {
  let askedAt = -Infinity
  let known = Promise.resolve(0)

  async function ask(): Promise<number> {
    const bounds = await ends()
    const { rows } = await pool.query<{ lag: string }>(LAG, [
      bounds.map(({ partition }) => partition),
      bounds.map(({ high }) => high),
      of === 'all',
    ])
    return Number(rows[0]?.lag ?? 0)
  }

  return () => {
    if (now() - askedAt >= EVERY) {
      askedAt = now()
      // Where it can't be asked, the build's own batches fail as well, and wait.
      known = ask().catch(() => 0)
    }
    return known
  }
}
