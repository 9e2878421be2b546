import { isDeepStrictEqual } from 'node:util'
import type { Pool } from 'pg'
import { RefoldError } from '../errors.ts'

/** What a database remembers of the log it is folded from. */
export type LogPin = { topic: string; partitions: number; schemaId: number; schemaText: string }

/**
 * Pins this database to a log, or checks that it is the one pinned: same topic, same partition count, and under our
 * schema's id the same schema. Another is refused as `log-replaced`: folding it would mix two histories.
 */
export async function pinLog(pool: Pool, { topic, partitions, schemaId, schemaText }: LogPin): Promise<void> {
  await pool.query(
    'INSERT INTO refold.logs (topic, partitions) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM refold.logs) ON CONFLICT DO NOTHING',
    [topic, partitions],
  )
  const { rows } = await pool.query<{ topic: string; partitions: number }>('SELECT topic, partitions FROM refold.logs')
  const pinned = rows[0]
  if (pinned?.topic !== topic) throw new RefoldError('log-replaced', `the database is folded from topic ${pinned?.topic}, not ${topic}`)
  if (pinned.partitions !== partitions)
    throw new RefoldError('log-replaced', `${topic} has ${partitions} partitions, it had ${pinned.partitions} when the database was made`)
  await pool.query('INSERT INTO refold.schemas (id, text) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING', [schemaId, schemaText])
  const stored = await pool.query<{ text: string }>('SELECT text FROM refold.schemas WHERE id = $1', [schemaId])
  if (!isDeepStrictEqual(JSON.parse(stored.rows[0]?.text ?? 'null'), JSON.parse(schemaText)))
    throw new RefoldError('log-replaced', `schema ${schemaId} of this registry is not the one the database knows under that id`)
}
