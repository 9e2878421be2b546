// Connections to Postgres. Two roles stand behind them (migration 0003): refold_engine writes, refold_api reads one tenant.

import { Client, Pool, type PoolClient } from 'pg'
import { RefoldError } from '../errors.ts'

export type PgPoolOptions = {
  /** Most connections. */
  max: number
  /** Shown in pg_stat_activity. */
  name: string
  /** Role every connection takes; without it, the one that logs in. */
  role?: 'refold_engine' | 'refold_api'
  /**
   * Its statements look rows up by their keys. Before a table's first ANALYZE the planner takes it for empty and would scan
   * it whole, for each execution that starts. Before Postgres 18 what is off counts as very dear, and would be compiled.
   */
  byKey?: boolean
}

const BY_KEY = '-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off'

/** A pool of plain pg connections: for COPY, LISTEN and the recorder's transactions. Opens none until asked. */
export function createPgPool(databaseUrl: string, { max, name, role, byKey }: PgPoolOptions): Pool {
  const options = [...(role ? [`-c role=${role}`] : []), ...(byKey ? [BY_KEY] : [])].join(' ')
  const pool = new Pool({
    connectionString: databaseUrl,
    max,
    application_name: name,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    ...(options === '' ? {} : { options }),
  })
  // A connection that breaks while idle is dropped by the pool; one that breaks between two queries of a transaction fails
  // the next of them, and must not end the process before.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

/** A connection of its own, for LISTEN; not connected yet. */
export function createPgClient(databaseUrl: string, name: string): Client {
  const client = new Client({ connectionString: databaseUrl, application_name: name, keepAlive: true, connectionTimeoutMillis: 10_000 })
  // A server that goes says so twice, in words and by closing the socket: whoever waits for the first must not die of the second.
  client.on('error', () => undefined)
  return client
}

/**
 * Runs `work` in one transaction of one connection. An error rolls back; a broken connection is thrown away.
 * `giveUp`: asked when `work` has failed; true: the connection is thrown away, without a word that would wait for what runs on it.
 */
export async function inTransaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  giveUp?: (client: PoolClient) => Promise<boolean>,
): Promise<T> {
  const client = await connect(pool)
  let broken = true
  try {
    await client.query('BEGIN')
    const result = await work(client)
    await client.query('COMMIT')
    broken = false
    return result
  } catch (error) {
    if (!(await giveUp?.(client)))
      await client.query('ROLLBACK').then(
        () => (broken = false),
        () => undefined,
      )
    throw error
  } finally {
    client.release(broken)
  }
}

async function connect(pool: Pool): Promise<PoolClient> {
  try {
    return await pool.connect()
  } catch (cause) {
    throw new RefoldError('database-unavailable', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
