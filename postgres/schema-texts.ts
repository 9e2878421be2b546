import type { Pool } from 'pg'
import type { SchemaTexts } from '../consumers/writer-schemas.ts'

/** The `schemas` table: each writer schema's text by its registry id. `pool` connects as refold_engine. */
export function createSchemaTexts(pool: Pool): SchemaTexts {
  async function get(id: number): Promise<string | undefined> {
    const { rows } = await pool.query<{ text: string }>('SELECT text FROM refold.schemas WHERE id = $1', [id])
    return rows[0]?.text
  }
  return {
    get,
    async put(id, text) {
      await pool.query('INSERT INTO refold.schemas (id, text) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING', [id, text])
      return (await get(id)) ?? text
    },
  }
}
