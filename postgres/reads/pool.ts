// recorder → Postgres → [reads] → REST
//
// How REST reads: as refold_api, one tenant a transaction, so that row-level security stands behind every query.

import {
  BackendTerminatedError,
  BackendTerminatedUnexpectedlyError,
  ConnectionError,
  createPool,
  type DatabasePool,
  type DatabaseTransactionConnection,
  type Interceptor,
  sql,
} from 'slonik'
import { z } from 'zod'
import { asError, RefoldError } from '../../errors.ts'

export type ReadPoolOptions = {
  /** Most connections. */
  max: number
  /** Shown in pg_stat_activity. */
  name: string
}

export type Transaction = DatabaseTransactionConnection

export type ReadPool = {
  /** Runs `work` in a read-only transaction that sees the rows of `tenant` only. It may run again: no other effects in it. */
  read<T>(tenant: string, work: (transaction: Transaction) => Promise<T>): Promise<T>
  close(): Promise<void>
}

/** Parses each row by the schema of its query. Synchronous: the asynchronous hook takes twice as long. */
const rowParser: Interceptor = {
  name: 'refold-rows',
  transformRow: ({ resultParser }, _query, row) => {
    if (!resultParser) return row
    const result = resultParser['~standard'].validate(row)
    if (result instanceof Promise) throw new TypeError('row schemas are synchronous')
    if (result.issues) throw new TypeError(`a row is not as expected: ${result.issues.map(({ message }) => message).join(', ')}`)
    return result.value as typeof row
  },
}

/** The server is gone, going, coming up, or out of connections. */
const AWAY = /^(ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOSTUNREACH|08|57P0[1-3]|53300)/

function isAway(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (at instanceof ConnectionError || at instanceof BackendTerminatedError || at instanceof BackendTerminatedUnexpectedlyError)
      return true
    if ('code' in at && typeof at.code === 'string' && AWAY.test(at.code)) return true
    if (at instanceof AggregateError && at.errors.some(isAway)) return true
    if (/connection terminated|timeout expired|timeout exceeded when trying to connect/i.test(at.message)) return true
  }
  return false
}

/** With the role in its options, a connection never has more rights than it needs. */
function withRole(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.searchParams.set('options', `${url.searchParams.get('options') ?? ''} -c role=refold_api -c default_transaction_read_only=on`.trim())
  return url.href
}

// Row schemas are made once: zod compiles each, which takes longer than the query.
const tenantRow = z.object({ tenant: z.string() })
const setTenant = (tenant: string) => sql.type(tenantRow)`
  SELECT set_config('refold.tenant', ${tenant}, true) AS tenant`

/** Connects when first asked, and again when asked after a failure: slonik's own pool can't be made while the server is down. */
export function createReadPool(databaseUrl: string, { max, name }: ReadPoolOptions): ReadPool {
  let pool: Promise<DatabasePool> | undefined

  function connected(): Promise<DatabasePool> {
    pool ??= createPool(withRole(databaseUrl), {
      maxPoolSize: max,
      poolName: name,
      connectionTimeout: 5000,
      connectionRetryLimit: 1,
      idleTimeout: 60_000,
      statementTimeout: 30_000,
      interceptors: [rowParser],
      typeParsers: [],
      // Nothing outlives a transaction on these connections; the default DISCARD ALL costs 7 to 16 %.
      resetConnection: async () => {},
    }).catch((error: unknown) => {
      pool = undefined
      throw error
    })
    return pool
  }

  return {
    async read(tenant, work) {
      try {
        const ready = await connected()
        return await ready.transaction(async (transaction) => {
          await transaction.query(setTenant(tenant))
          return work(transaction)
        })
      } catch (cause) {
        if (isAway(cause)) throw new RefoldError('database-unavailable', asError(cause).message, { cause })
        throw cause
      }
    },
    async close() {
      const open = pool
      pool = undefined
      await open?.then(
        (ready) => ready.end(),
        () => undefined,
      )
    },
  }
}
