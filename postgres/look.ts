// A look at the database, for `refold doctor`: asks in read-only transactions, gives up soon.

import { Client } from 'pg'
import { migrations } from './migrate.ts'

export type MigrationLook = { name: string; state: 'applied' | 'missing' | 'foreign' | 'unknown' }

export type RoleLook = {
  name: string
  exists: boolean
  /** The role that logs in may take it. */
  granted: boolean
  bypassesRls: boolean
}

export type ProjectionLook = {
  name: string
  /** Of its live generation; null before there is one. */
  version: number | null
  /** A person stopped it. */
  isStopped: boolean
  /** Processes that fold its live generation; null: it is the recorder's own, folded by that. */
  foldedBy: number | null
  parked: readonly { generation: number; isLive: boolean; position: string }[]
  operation: OperationLook | null
}

/** What is being done to a projection. */
export type OperationLook = {
  id: string
  kind: string
  state: string
  wanted: string | null
  /** Since something was noted, ms. */
  quiet: number
  /** Which it builds or goes back to, and its version; null before there is one. */
  generation: number | null
  version: number | null
  /** It has said that no process folds that generation. */
  unfolded: boolean
}

export type PostgresLook = {
  version: string
  /** The role that logs in, and whether it may make what migrations make. */
  user: string
  mayMigrate: boolean
  encoding: string
  /** Postgres' clock minus ours, in ms; give or take half the latency. */
  clockDifference: number
  latency: number
  /**
   * Those of this version, and those only the database knows (`unknown`: a newer version ran here). `foreign`: another
   * file ran under that name.
   */
  migrations: readonly MigrationLook[]
  roles: readonly RoleLook[]
  /** The log this database is folded from; null when none is pinned yet. */
  log: { topic: string; partitions: number } | null
  /** Partition → checkpoint of the recorder. */
  checkpoints: ReadonlyMap<number, number>
  /** Registry id → text of the writers' schemas that the recorder has met; the newest thousand. */
  schemas: ReadonlyMap<number, string>
  /** None before all migrations ran. */
  projections: readonly ProjectionLook[]
}

const ROLES = ['refold_engine', 'refold_api']

export async function lookAtPostgres(databaseUrl: string, within: number): Promise<PostgresLook> {
  const client = new Client({
    connectionString: databaseUrl,
    application_name: 'refold-doctor',
    connectionTimeoutMillis: within,
    query_timeout: within,
  })
  client.on('error', () => undefined) // a connection lost in between fails the query under way
  try {
    await client.connect()
    await client.query('SET default_transaction_read_only = on')
    const found = await compare(await appliedMigrations(client))
    const projections = found.some(({ state }) => state === 'missing') ? [] : await projectionsOf(client)
    return { ...(await serverOf(client)), ...(await refoldOf(client)), migrations: found, roles: await rolesOf(client), projections }
  } finally {
    // Where it never connected, there is nothing to say goodbye to.
    await client.end()
  }
}

async function serverOf(client: Client) {
  const begun = performance.now()
  await client.query('SELECT 1')
  const latency = performance.now() - begun
  const asked = Date.now()
  const { rows } = await client.query<{ version: string; user: string; encoding: string; now: string; may: boolean }>(
    `SELECT current_setting('server_version') AS version, current_user AS user, current_setting('server_encoding') AS encoding,
            (extract(epoch FROM clock_timestamp()) * 1000)::text AS now,
            has_database_privilege(current_database(), 'CREATE') AS may`,
  )
  const middle = (asked + Date.now()) / 2
  const [row] = rows
  if (!row) throw new Error('Postgres gave no row')
  const { version, user, encoding } = row
  return { version, user, encoding, mayMigrate: row.may, latency, clockDifference: Number(row.now) - middle }
}

async function exists(client: Client, table: string): Promise<boolean> {
  const { rows } = await client.query<{ found: boolean }>('SELECT to_regclass($1) IS NOT NULL AS found', [table])
  return rows[0]?.found === true
}

async function appliedMigrations(client: Client): Promise<ReadonlyMap<string, string>> {
  if (!(await exists(client, 'public.refold_migrations'))) return new Map()
  const { rows } = await client.query<{ name: string; digest: string }>('SELECT name, digest FROM public.refold_migrations')
  return new Map(rows.map(({ name, digest }) => [name, digest]))
}

async function compare(applied: ReadonlyMap<string, string>): Promise<MigrationLook[]> {
  const ours = await migrations()
  const known = new Set(ours.map(({ name }) => name))
  return [
    ...ours.map(({ name, digest }): MigrationLook => {
      const ran = applied.get(name)
      return { name, state: ran === undefined ? 'missing' : ran === digest ? 'applied' : 'foreign' }
    }),
    ...[...applied.keys()].filter((name) => !known.has(name)).map((name): MigrationLook => ({ name, state: 'unknown' })),
  ]
}

async function refoldOf(client: Client): Promise<Pick<PostgresLook, 'log' | 'checkpoints' | 'schemas'>> {
  if (!(await exists(client, 'refold.checkpoints'))) return { log: null, checkpoints: new Map(), schemas: new Map() }
  const logs = await client.query<{ topic: string; partitions: number }>('SELECT topic, partitions FROM refold.logs')
  const { rows } = await client.query<{ partition: number; next: string }>(
    "SELECT partition, next_offset::text AS next FROM refold.checkpoints WHERE reader = 'recorder' ORDER BY partition",
  )
  const schemas = await client.query<{ id: number; text: string }>('SELECT id, text FROM refold.schemas ORDER BY stored_at DESC LIMIT 1000')
  return {
    log: logs.rows[0] ?? null,
    checkpoints: new Map(rows.map(({ partition, next }) => [partition, Number(next)])),
    schemas: new Map(schemas.rows.map(({ id, text }) => [id, text])),
  }
}

async function rolesOf(client: Client): Promise<RoleLook[]> {
  const { rows } = await client.query<{ name: string; granted: boolean; bypasses: boolean }>(
    `SELECT rolname AS name, pg_has_role(current_user, oid, 'SET') AS granted, rolbypassrls AS bypasses
     FROM pg_roles WHERE rolname = ANY ($1)`,
    [ROLES],
  )
  const found = new Map(rows.map((row) => [row.name, row]))
  return ROLES.map((name) => {
    const role = found.get(name)
    return { name, exists: role !== undefined, granted: role?.granted === true, bypassesRls: role?.bypasses === true }
  })
}

const PROJECTIONS = `
  SELECT p.name, (SELECT g.version FROM refold.generations g WHERE g.projection = p.name AND g.generation = p.live_generation) AS version,
    p.stopped_at IS NOT NULL AS "isStopped",
    CASE p.name WHEN 'derived' THEN NULL ELSE (SELECT count(*) FROM refold.processes s
      WHERE s.seen_at > now() - interval '30 seconds' AND p.name || '@g' || p.live_generation = ANY (s.generations))::int END AS "foldedBy",
    (SELECT coalesce(json_agg(json_build_object('generation', g.generation, 'isLive', g.generation = p.live_generation,
       'position', 'p' || k.partition || ':' || k.parked_at) ORDER BY g.generation, k.partition), '[]')
     FROM refold.generations g JOIN refold.checkpoints k ON k.reader = p.name || '@g' || g.generation AND k.parked_at IS NOT NULL
     WHERE g.projection = p.name AND g.state <> 'retired') AS parked,
    (SELECT json_build_object('id', o.id, 'kind', o.kind, 'state', o.state, 'wanted', o.wanted,
       'quiet', (extract(epoch FROM now() - o.changed_at) * 1000)::bigint, 'generation', o.generation, 'version', g.version,
       'unfolded', coalesce((o.progress ->> 'unfolded')::boolean, false))
     FROM refold.operations o LEFT JOIN refold.generations g ON g.projection = o.projection AND g.generation = o.generation
     WHERE o.projection = p.name AND o.ended_at IS NULL) AS operation
  FROM refold.projections p ORDER BY p.name`

const projectionsOf = async (client: Client): Promise<ProjectionLook[]> => (await client.query<ProjectionLook>(PROJECTIONS)).rows
