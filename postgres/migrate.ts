// Brings a database to this version: the files of migrations/, in order of their names, each in one transaction, forward
// only. A file that ran is never edited: its digest is kept and compared. A database on which files ran that this version
// does not have is a newer one's: nothing is done to it.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { Pool, PoolClient } from 'pg'
import { RefoldError } from '../errors.ts'
import { inTransaction } from './pool.ts'

/** Any number of processes may migrate at once; this advisory lock lets one pass at a time. */
const LOCK = 0x5265666f

const FOLDER = new URL('./migrations/', import.meta.url)

export type Migration = { name: string; sql: string; digest: string }

/** This version's migrations, in the order they run. */
export async function migrations(): Promise<Migration[]> {
  const names = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).toSorted()
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, FOLDER), 'utf8')
      return { name, sql, digest: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

async function applied(client: PoolClient): Promise<Map<string, string>> {
  await client.query(`CREATE TABLE IF NOT EXISTS public.refold_migrations (
    name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`)
  const { rows } = await client.query<{ name: string; digest: string }>('SELECT name, digest FROM public.refold_migrations')
  return new Map(rows.map(({ name, digest }) => [name, digest]))
}

function refuseNewer(ran: ReadonlyMap<string, string>, ours: readonly Migration[]): void {
  const names = new Set(ours.map(({ name }) => name))
  const unknown = [...ran.keys()].filter((name) => !names.has(name)).toSorted()
  if (unknown.length > 0) throw new RefoldError('database-newer', `it has run ${unknown.join(', ')}, which this version does not know`)
}

async function apply(pool: Pool, { name, sql, digest }: Migration, ours: readonly Migration[]): Promise<boolean> {
  try {
    return await inTransaction(pool, async (client) => {
      await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK])
      const ran = await applied(client)
      refuseNewer(ran, ours)
      const known = ran.get(name)
      if (known !== undefined) {
        if (known !== digest) throw new RefoldError('migration-failed', `${name} is not the file that ran on this database`)
        return false
      }
      await client.query(sql)
      await client.query('INSERT INTO public.refold_migrations (name, digest) VALUES ($1, $2)', [name, digest])
      return true
    })
  } catch (cause) {
    if (cause instanceof RefoldError) throw cause
    throw new RefoldError('migration-failed', `${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/**
 * Applies what is missing; returns the names applied. Needs a role that may create schemas and roles. Errors:
 * `database-newer`, `migration-failed`, `database-unavailable`.
 */
export async function migrate(pool: Pool, ours?: readonly Migration[]): Promise<string[]> {
  const all = ours ?? (await migrations())
  const done: string[] = []
  for (const migration of all) if (await apply(pool, migration, all)) done.push(migration.name)
  return done
}
