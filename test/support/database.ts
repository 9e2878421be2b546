// A database of its own for each test file: made from nothing, migrated, dropped at the end.

import { randomBytes } from 'node:crypto'
import { Pool } from 'pg'
import type { Test } from 'tap'
import { migrate } from '../../postgres/migrate.ts'
import { createPgPool } from '../../postgres/pool.ts'

export type TestDatabase = { url: string; /** Connects as the role that made the tables. */ admin: Pool; engine: Pool; api: Pool }

/** `server` is the URL of any database of the server, with a role that may create databases and roles. */
export async function useDatabase(t: Test, server: string, { migrated = true } = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const owner = new Pool({ connectionString: server, max: 1 })
  await owner.query(`CREATE DATABASE ${name}`)
  const url = new URL(server)
  url.pathname = `/${name}`
  const admin = createPgPool(url.href, { max: 4, name: 'test' })
  const engine = createPgPool(url.href, { max: 8, name: 'test-engine', role: 'refold_engine' })
  const api = createPgPool(url.href, { max: 4, name: 'test-api', role: 'refold_api' })
  t.teardown(async () => {
    await Promise.all([admin.end(), engine.end(), api.end()])
    await owner.query(`DROP DATABASE ${name} WITH (FORCE)`)
    await owner.end()
  })
  if (migrated) await migrate(admin)
  return { url: url.href, admin, engine, api }
}
