// Rows of refold.operations: the part of the port OperationStore (consumers/operations.ts) that all kinds of generations share.

import type { Pool } from 'pg'
import type { Operation, OperationStore } from '../consumers/operations.ts'

/** `isOurs`: whether this process can work on a projection's operations. */
export function createOperationRows(
  pool: Pool,
  isOurs: (projection: string) => boolean,
): Pick<OperationStore, 'open' | 'alone' | 'update'> {
  return {
    async open() {
      const { rows } = await pool.query<Operation>(
        'SELECT id, projection, kind, generation, state, progress, comparison, wanted FROM refold.operations WHERE ended_at IS NULL ORDER BY requested_at',
      )
      return rows.filter(({ projection }) => isOurs(projection))
    },
    async alone({ id, projection }, step) {
      const client = await pool.connect()
      try {
        const { rows } = await client.query<{ mine: boolean }>('SELECT pg_try_advisory_lock(hashtext($1)) AS mine', [
          `refold.operation.${projection}`,
        ])
        if (rows[0]?.mine !== true) return
        try {
          const now = await client.query<Operation>(
            'SELECT id, projection, kind, generation, state, progress, comparison, wanted FROM refold.operations WHERE id = $1 AND ended_at IS NULL',
            [id],
          )
          if (now.rows[0]) await step(now.rows[0])
        } finally {
          await client.query('SELECT pg_advisory_unlock(hashtext($1))', [`refold.operation.${projection}`])
        }
      } finally {
        client.release()
      }
    },
    async update(id, { state, generation, progress, comparison, line }) {
      const isOver = state === 'done' || state === 'aborted' || state === 'failed'
      await pool.query(
        `UPDATE refold.operations SET state = coalesce($2, state), generation = coalesce($3, generation), progress = coalesce($4, progress),
           comparison = coalesce($5, comparison), changed_at = now(), ended_at = CASE WHEN $6 THEN now() END,
           log = CASE WHEN $7::text IS NULL THEN log ELSE (log::jsonb || jsonb_build_array(jsonb_build_object('at', now(), 'line', $7::text)))::json END
         WHERE id = $1`,
        [
          id,
          state ?? null,
          generation ?? null,
          progress ? JSON.stringify(progress) : null,
          comparison ? JSON.stringify(comparison) : null,
          isOver,
          line ?? null,
        ],
      )
    },
  }
}

/** Opens a reset, once ever for a reason; false where it was opened already, or another operation is open. */
export async function requestReset(pool: Pool, projection: string, reason: string): Promise<boolean> {
  const { rowCount } = await pool.query(
    `INSERT INTO refold.operations (projection, kind, state, reason)
     SELECT $1, 'reset', 'requested', $2 WHERE NOT EXISTS (SELECT FROM refold.operations WHERE projection = $1 AND reason = $2)
     ON CONFLICT DO NOTHING`,
    [projection, reason],
  )
  return rowCount === 1
}

/** Until the transaction ends: row-level security shows incidents of no tenant to operators only, and holds the tables' owner too. */
export const seeIncidents = (client: Pick<Pool, 'query'>) => client.query("SELECT set_config('refold.operator', 'on', true)")

/** Closes what is open of a projection's generations that are gone, for there is nothing left to mend. */
export async function closeIncidentsOfRetired(client: Pick<Pool, 'query'>, projection: string): Promise<void> {
  await seeIncidents(client)
  await client.query(
    `UPDATE refold.incidents i SET closed_at = now() FROM refold.generations g
     WHERE i.closed_at IS NULL AND g.projection = $1 AND g.state = 'retired' AND (
       i.kind = 'offset-refused' AND i.subject = $1 || '@g' || g.generation
       OR i.kind = 'projection-parked' AND i.evidence ->> 'projection' = $1 AND g.generation = (i.evidence ->> 'generation')::int)`,
    [projection],
  )
}

/** One at a time over all processes, until the transaction ends. */
export const lockProjection = (client: Pick<Pool, 'query'>, projection: string) =>
  client.query('SELECT pg_advisory_xact_lock(hashtext($1))', [`refold.projection.${projection}`])

/** The newest version of a projection's code that was ever deployed. */
export async function newestVersion(client: Pick<Pool, 'query'>, projection: string): Promise<number> {
  const { rows } = await client.query<{ version: number }>('SELECT version FROM refold.projections WHERE name = $1', [projection])
  return rows[0]?.version ?? 0
}

/** lock_not_available, deadlock_detected: somebody holds a table or a view in a long transaction. */
export const isBusy = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === '55P03' || error.code === '40P01')

/** Longest that a swap of views waits for their readers, ms: others wait behind it. */
export const SWAP_WAIT = 100
