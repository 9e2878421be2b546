// Checkpoints of the runtime and of action workers: they only move forward, and those that move at the same time share a statement.

import type { Pool } from 'pg'
import { createCombiner } from '../combine.ts'

/** Rows in the order of their key: two processes that move the same ones never wait for each other in a ring. */
const MOVE = `
  INSERT INTO refold.checkpoints AS c (reader, partition, next_offset)
  SELECT reader, partition, max(next_offset) FROM unnest($1::text[], $2::int[], $3::bigint[]) AS m (reader, partition, next_offset)
  GROUP BY reader, partition ORDER BY reader, partition
  ON CONFLICT (reader, partition) DO UPDATE SET next_offset = greatest(c.next_offset, excluded.next_offset), moved_at = now()`

type Moved = { reader: string; partition: number; next: number }

export type CheckpointMover = (reader: string, partition: number, next: number) => Promise<void>

/** Moves a checkpoint forward; a smaller one changes nothing. `pool` connects as refold_engine. */
export function createCheckpointMover(pool: Pool): CheckpointMover {
  const move = createCombiner<Moved, undefined>(
    async (all) => {
      const columns = [all.map(({ reader }) => reader), all.map(({ partition }) => partition), all.map(({ next }) => next)]
      await pool.query({ name: 'checkpoints-move', text: MOVE, values: columns })
      return all.map(() => undefined)
    },
    () => undefined,
  )
  return (reader, partition, next) => move({ reader, partition, next })
}
