// recorder → Postgres → [reads] → REST
//
// How REST reads: as refold_api, one tenant a transaction, so that row-level security stands behind every query.
//
// D1  A transaction's first message begins it and sets its tenant, in one: no query of it is ever sent before. A tenant ends
//     with its transaction.
// D2  Queries are written and typed with slonik's tags, and sent by pg: prepared once a connection, rows parsed
//     synchronously, the answer given before the COMMIT of what only read (decision 0004).

import { hash } from 'node:crypto'
import { escapeLiteral, Pool, type PoolClient } from 'pg'
import type { DatabaseTransactionConnection, QuerySqlToken } from 'slonik'
import { asError, RefoldError } from '../../errors.ts'

export type ReadPoolOptions = {
  /** Most connections. */
  max: number
  /** Shown in pg_stat_activity. */
  name: string
}

/** What a read may ask, in slonik's words. */
export type Transaction = Pick<DatabaseTransactionConnection, 'any' | 'one' | 'maybeOne' | 'maybeOneFirst'> & {
  /** Rows of the statement that went with the first message; none was asked for: none. */
  readonly first: readonly Readonly<Record<string, unknown>>[]
}

export type ReadSettings = {
  /** Records of no tenant are seen too. */
  operator?: boolean
  /** One statement without parameters that goes with the message which begins the transaction. */
  first?: string
}

export type ReadPool = {
  /** Runs `work` in a read-only transaction that sees the rows of `tenant` only. */
  read<T>(tenant: string, work: (transaction: Transaction) => Promise<T>, settings?: ReadSettings): Promise<T>
  close(): Promise<void>
}

/** The server is gone, going, coming up, or out of connections. */
const AWAY = /^(ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOSTUNREACH|08|57P0[1-3]|53300)/

function isAway(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if ('code' in at && typeof at.code === 'string' && AWAY.test(at.code)) return true
    if (at instanceof AggregateError && at.errors.some(isAway)) return true
    if (/connection terminated|connection error|not queryable|timeout expired|timeout exceeded when trying to connect/i.test(at.message))
      return true
  }
  return false
}

/** With the role in its options, a connection never has more rights than it needs. */
const OPTIONS = '-c role=refold_api -c default_transaction_read_only=on -c statement_timeout=30s'

function withOptions(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.searchParams.set('options', `${url.searchParams.get('options') ?? ''} ${OPTIONS}`.trim())
  return url.href
}

/** Statements of one shape have one name, by which a connection prepares them; beyond so many they are sent without one. */
const MOST_SHAPES = 500
const shapes = new Map<string, { name?: string; text: string }>()

/** slonik's tags number parameters in a way of their own. */
function shapeOf(sql: string): { name?: string; text: string } {
  const known = shapes.get(sql)
  if (known) return known
  const text = sql.replaceAll('$slonik_', '$')
  if (shapes.size >= MOST_SHAPES) return { text }
  const shape = { name: `r${hash('sha1', text).slice(0, 16)}`, text }
  shapes.set(sql, shape)
  return shape
}

type Parser = QuerySqlToken['parser']

function parsed(parser: Parser, row: unknown): unknown {
  const result = parser['~standard'].validate(row)
  if (result instanceof Promise) throw new TypeError('row schemas are synchronous')
  if (result.issues) throw new TypeError(`a row is not as expected: ${result.issues.map(({ message }) => message).join(', ')}`)
  return result.value
}

function transactionOn(client: PoolClient, first: Transaction['first']): Transaction {
  async function rows({ sql, values, parser }: QuerySqlToken): Promise<unknown[]> {
    const found = await client.query<Record<string, unknown>>({ ...shapeOf(sql), values: [...values] })
    return found.rows.map((row) => parsed(parser, row))
  }
  async function atMostOne(query: QuerySqlToken): Promise<unknown> {
    const found = await rows(query)
    if (found.length > 1) throw new TypeError(`one row was expected, not ${found.length}`)
    return found[0] ?? null
  }
  const one = async (query: QuerySqlToken) => (await atMostOne(query)) ?? Promise.reject(new TypeError('a row was expected'))
  async function maybeOneFirst(query: QuerySqlToken): Promise<unknown> {
    const row = await atMostOne(query)
    return row === null ? null : Object.values(row as object)[0]
  }
  // The rows are what the parsers make them: slonik's types say so of its tokens.
  return { first, any: rows, one, maybeOne: atMostOne, maybeOneFirst } as Transaction
}

/** D1. Several statements in one message have no parameters, so the tenant is a literal. */
async function begin(client: PoolClient, tenant: string, { operator = false, first }: ReadSettings): Promise<Transaction['first']> {
  const settings = [
    `set_config('refold.tenant', ${escapeLiteral(tenant)}, true)`,
    ...(operator ? ["set_config('refold.operator', 'on', true)"] : []),
  ]
  const results: unknown = await client.query(`BEGIN; SELECT ${settings.join(', ')}${first === undefined ? '' : `; ${first}`}`)
  const asked = first !== undefined && Array.isArray(results) ? (results[2] as { rows: Transaction['first'] }) : undefined
  return asked?.rows ?? []
}

/** Connects when first asked, and again when asked after a failure. */
export function createReadPool(databaseUrl: string, { max, name }: ReadPoolOptions): ReadPool {
  const pool = new Pool({
    connectionString: withOptions(databaseUrl),
    max,
    application_name: name,
    connectionTimeoutMillis: 5000,
    idleTimeoutMillis: 60_000,
  })
  // A connection that breaks while idle is dropped by the pool; one that breaks between two queries fails the next.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))

  async function connected(): Promise<PoolClient> {
    try {
      return await pool.connect()
    } catch (cause) {
      throw new RefoldError('database-unavailable', asError(cause).message, { cause })
    }
  }

  /** The connection is free again once its transaction has ended; one whose end fails is thrown away. */
  function end(client: PoolClient, how: 'COMMIT' | 'ROLLBACK'): void {
    client.query(how).then(
      () => client.release(),
      (error: unknown) => client.release(asError(error)),
    )
  }

  async function inTransaction<T>(tenant: string, work: (transaction: Transaction) => Promise<T>, settings: ReadSettings): Promise<T> {
    const client = await connected()
    try {
      const result = await work(transactionOn(client, await begin(client, tenant, settings)))
      end(client, 'COMMIT')
      return result
    } catch (error) {
      if (isAway(error)) client.release(asError(error))
      else end(client, 'ROLLBACK')
      throw error
    }
  }

  return {
    async read(tenant, work, settings = {}) {
      try {
        return await inTransaction(tenant, work, settings)
      } catch (cause) {
        if (!(cause instanceof RefoldError) && isAway(cause))
          throw new RefoldError('database-unavailable', asError(cause).message, { cause })
        throw cause
      }
    },
    close: () => pool.end(),
  }
}
