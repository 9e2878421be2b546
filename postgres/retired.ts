// Generations made away with, in two steps: from the first on nobody uses it, and the second, which drops its tables, may be long
// in coming: a reader's open transaction holds them, and nothing may wait for that.

import type { Pool } from 'pg'
import type { Dropping } from '../consumers/operations.ts'
import { closeIncidentsOfRetired, isBusy, lockProjection, SWAP_WAIT } from './operation-rows.ts'
import { inTransaction } from './pool.ts'
import { quoted } from './projection-tables.ts'

/** Drops a retired generation's schema, unless somebody has a table of it for long, or another process is at it. */
async function drop(pool: Pool, schema: string): Promise<Dropping> {
  try {
    return await inTransaction(pool, async (client) => {
      const { rows } = await client.query<{ mine: boolean }>('SELECT pg_try_advisory_xact_lock(hashtext($1)) AS mine', [
        `refold.drop.${schema}`,
      ])
      if (rows[0]?.mine !== true) return 'busy'
      // Readers that come now wait behind this.
      await client.query(`SET LOCAL lock_timeout = '${SWAP_WAIT}ms'`)
      await client.query(`DROP SCHEMA IF EXISTS ${quoted(schema)} CASCADE`)
      return 'dropped'
    })
  } catch (error) {
    if (isBusy(error)) return 'busy'
    throw error
  }
}

/** Retires a generation that is not live, whose checkpoints are `reader`'s. `busy`: `dropRetired` drops its tables later. */
export async function retireGeneration(pool: Pool, projection: string, generation: number, reader: string): Promise<Dropping> {
  const schema = await inTransaction(pool, async (client) => {
    await lockProjection(client, projection)
    const { rows } = await client.query<{ schema_name: string }>(
      `UPDATE refold.generations SET state = 'retired' WHERE projection = $1 AND generation = $2 AND state <> 'live' RETURNING schema_name`,
      [projection, generation],
    )
    if (!rows[0]) return undefined
    await client.query('DELETE FROM refold.checkpoints WHERE reader = $1', [reader])
    await closeIncidentsOfRetired(client, projection)
    return rows[0].schema_name
  })
  return schema === undefined ? 'dropped' : drop(pool, schema)
}

/** Drops what is left of retired generations, of whatever projection; gives the schemas that are gone now. */
export async function dropRetired(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ schema_name: string }>(
    `SELECT schema_name FROM refold.generations
     WHERE state = 'retired' AND EXISTS (SELECT FROM pg_namespace WHERE nspname = schema_name) ORDER BY projection, generation`,
  )
  const gone: string[] = []
  for (const { schema_name: schema } of rows) if ((await drop(pool, schema)) === 'dropped') gone.push(schema)
  return gone
}
