// Generations of the recorder's derived tables: made, compared, promoted. The port OperationStore (consumers/operations.ts) for
// the projection `derived`.
//
// V1  Compared in one snapshot, in which the generation is where the recorder is: the recorder is held for the moment that takes.
// V2  A promotion locks every row of the recorder's checkpoint first; the recorder reads the live generation from them.

import { setTimeout as pause } from 'node:timers/promises'
import type { Pool, PoolClient } from 'pg'
import type { Difference, OperationStore, PartitionComparison } from '../consumers/operations.ts'
import { FOLD_VERSION } from '../workflow/execution.ts'
import { DERIVED, derivedReader, derivedSchema } from './derived-tables.ts'
import { createOperationRows, isBusy, lockProjection, newestVersion, requestReset, SWAP_WAIT } from './operation-rows.ts'
import { inTransaction } from './pool.ts'
import { READER } from './recorder-store.ts'
import { dropRetired, retireGeneration } from './retired.ts'

/** Tables with the columns that name a row, beside tenant. Snapshots are not compared: they change speed, never an answer. */
const TABLES: Readonly<Record<string, readonly string[] | undefined>> = {
  workflow_executions: ['execution_id'],
  workflow_actions: ['execution_id', 'action'],
  workflow_timers: ['execution_id', 'timer'],
  workflow_waits: ['execution_id', 'wait'],
  workflow_snapshots: undefined,
}
const NAMES = Object.keys(TABLES)

/** Longest that the recorder is held for a comparison or a promotion, ms. */
const HELD = 300
const LOOK = 5
/** Records that the generation may be behind before the recorder is held, over all partitions. */
const CLOSE = 1000
const SHOWN = 100

/** Makes a generation's tables like those of the live one, with what LIKE leaves out. */
const ddl = (made: string, live: string): string => `
  CREATE SCHEMA IF NOT EXISTS ${made};
  GRANT USAGE ON SCHEMA ${made} TO refold_engine, refold_api;
  ${NAMES.map(
    (name) => `
    CREATE TABLE ${made}.${name} (LIKE ${live}.${name} INCLUDING ALL) WITH (fillfactor = 80);
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ${made}.${name} TO refold_engine;
    GRANT SELECT ON ${made}.${name} TO refold_api;
    ALTER TABLE ${made}.${name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY one_tenant ON ${made}.${name} USING (tenant = current_setting('refold.tenant', true));`,
  ).join('')}`

const viewsDdl = (schema: string): string =>
  NAMES.map((name) => `CREATE OR REPLACE VIEW refold.${name} WITH (security_invoker = true) AS SELECT * FROM ${schema}.${name};`).join('\n')

type Compared = Pick<PartitionComparison, 'live' | 'built' | 'differing' | 'shown'>

/** Json is compared as text: both were written by the same fold, and jsonb can't hold each number. */
async function compareTable(
  client: PoolClient,
  live: string,
  built: string,
  table: string,
  key: readonly string[],
  partition: number,
): Promise<Compared> {
  const { rows: found } = await client.query<{ name: string; is_json: boolean }>(
    `SELECT attname AS name, atttypid = 'json'::regtype AS is_json FROM pg_attribute
     WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [`${built}.${table}`],
  )
  const all = found.map(({ name, is_json: isJson }) => (isJson ? `${name}::text AS ${name}` : name)).join(', ')
  const keys = ['tenant', ...key]
  const rowsOf = (schema: string) => `SELECT ${all} FROM ${schema}.${table} WHERE partition = $1`
  const { rows } = await client.query<{ live: string; built: string; differing: string; shown: Omit<Difference, 'table'>[] }>(
    `WITH a AS MATERIALIZED (${rowsOf(live)}), b AS MATERIALIZED (${rowsOf(built)}),
     d AS (SELECT CASE WHEN b.tenant IS NULL THEN 'missing' WHEN a.tenant IS NULL THEN 'extra' ELSE 'changed' END AS kind,
             json_build_object(${keys.map((one) => `'${one}', coalesce(a.${one}, b.${one})`).join(', ')}) AS key
           FROM a FULL JOIN b ON ${keys.map((one) => `a.${one} = b.${one}`).join(' AND ')} WHERE a IS DISTINCT FROM b)
     SELECT (SELECT count(*) FROM a) AS live, (SELECT count(*) FROM b) AS built, (SELECT count(*) FROM d) AS differing,
            (SELECT coalesce(json_agg(x), '[]') FROM (SELECT kind, key FROM d LIMIT ${SHOWN}) x) AS shown`,
    [partition],
  )
  const row = rows[0]
  return {
    live: Number(row?.live ?? 0),
    built: Number(row?.built ?? 0),
    differing: Number(row?.differing ?? 0),
    shown: (row?.shown ?? []).map((one) => ({ table, ...one })),
  }
}

/** `owner` connects as the role that logs in, `engine` as refold_engine (it sees every tenant). */
export function createDerivedControl(owner: Pool, engine: Pool, partitions: number) {
  async function stands(client: Pool | PoolClient): Promise<{ live: number; version: number }> {
    const { rows } = await client.query<{ live: number; version: number }>(
      `SELECT p.live_generation AS live, g.version FROM refold.projections p
       JOIN refold.generations g ON g.projection = p.name AND g.generation = p.live_generation WHERE p.name = $1`,
      [DERIVED],
    )
    if (!rows[0]) throw new Error('the derived tables have no live generation: was the database migrated?')
    return rows[0]
  }

  async function placesOf(client: Pool | PoolClient, reader: string): Promise<ReadonlyMap<number, number>> {
    const { rows } = await client.query<{ partition: number; next_offset: string }>(
      'SELECT partition, next_offset FROM refold.checkpoints WHERE reader = $1',
      [reader],
    )
    return new Map(rows.map(({ partition, next_offset: next }) => [partition, Number(next)]))
  }

  /** Waits until the generation is where the recorder, which `client` holds, is. False: it takes too long. */
  async function isThere(client: PoolClient, generation: number, recorded: ReadonlyMap<number, number>): Promise<boolean> {
    const until = performance.now() + HELD
    for (;;) {
      const places = await placesOf(client, derivedReader(generation))
      if ([...recorded].every(([partition, next]) => places.get(partition) === next)) return true
      if (performance.now() > until) return false
      await pause(LOOK)
    }
  }

  /** Rows of the recorder's checkpoint, locked until the transaction ends: no batch is stored meanwhile. */
  async function holdRecorder(client: PoolClient, partition?: number): Promise<ReadonlyMap<number, number>> {
    const { rows } = await client.query<{ partition: number; next_offset: string }>(
      `SELECT partition, next_offset FROM refold.checkpoints WHERE reader = '${READER}' AND ($1::int IS NULL OR partition = $1)
       ORDER BY partition FOR UPDATE`,
      [partition ?? null],
    )
    return new Map(rows.map(({ partition: one, next_offset: next }) => [one, Number(next)]))
  }

  async function addGeneration(client: PoolClient): Promise<number> {
    const { rows } = await client.query<{ next: number }>(
      'SELECT max(generation) + 1 AS next FROM refold.generations WHERE projection = $1',
      [DERIVED],
    )
    const generation = rows[0]?.next ?? 1
    const { live } = await stands(client)
    await client.query(ddl(derivedSchema(generation), derivedSchema(live)))
    await client.query(
      `INSERT INTO refold.generations (projection, generation, version, definition, schema_name, state)
       SELECT projection, $2, $3, definition, $4, 'building' FROM refold.generations WHERE projection = $1 AND generation = $5`,
      [DERIVED, generation, FOLD_VERSION, derivedSchema(generation), live],
    )
    await client.query(
      'INSERT INTO refold.checkpoints (reader, partition, next_offset) SELECT $1, p, 0 FROM generate_series(0, $2 - 1) p ON CONFLICT DO NOTHING',
      [derivedReader(generation), partitions],
    )
    // Of a partition that no recorder has taken up yet.
    await client.query(
      `INSERT INTO refold.checkpoints (reader, partition, next_offset, derived_generation)
       SELECT '${READER}', p, 0, $2 FROM generate_series(0, $1 - 1) p ON CONFLICT DO NOTHING`,
      [partitions, live],
    )
    return generation
  }

  /** Near enough that it is worth holding the recorder. */
  async function isClose(client: Pool | PoolClient, generation: number): Promise<boolean> {
    const [recorded, places] = [await placesOf(client, READER), await placesOf(client, derivedReader(generation))]
    let behind = 0
    for (const [partition, next] of recorded) behind += next - (places.get(partition) ?? 0)
    return behind <= CLOSE
  }

  async function swap(client: PoolClient, generation: number): Promise<'promoted' | 'behind'> {
    await client.query(`SET LOCAL lock_timeout = '${SWAP_WAIT}ms'`)
    await lockProjection(client, DERIVED)
    const { live } = await stands(client)
    if (live === generation) return 'promoted'
    if (!(await isClose(client, generation))) return 'behind'
    const recorded = await holdRecorder(client)
    if (!(await isThere(client, generation, recorded))) return 'behind'
    await client.query(viewsDdl(derivedSchema(generation)))
    await client.query(`UPDATE refold.checkpoints SET derived_generation = $1 WHERE reader = '${READER}'`, [generation])
    // From here on the one is followed, and the other has no checkpoint but the recorder's.
    await client.query('DELETE FROM refold.checkpoints WHERE reader = ANY ($1)', [[derivedReader(generation), derivedReader(live)]])
    await client.query(
      'INSERT INTO refold.checkpoints (reader, partition, next_offset) SELECT $1, * FROM unnest($2::int[], $3::bigint[])',
      [derivedReader(live), [...recorded.keys()], [...recorded.values()]],
    )
    await client.query("UPDATE refold.generations SET state = 'following' WHERE projection = $1 AND generation = $2", [DERIVED, live])
    await client.query("UPDATE refold.generations SET state = 'live' WHERE projection = $1 AND generation = $2", [DERIVED, generation])
    await client.query('UPDATE refold.projections SET live_generation = $2, previous_generation = $3, changed_at = now() WHERE name = $1', [
      DERIVED,
      generation,
      live,
    ])
    return 'promoted'
  }

  /** V1. Begins a transaction whose one snapshot has both at the same place, and answers where; undefined: they are apart. */
  async function beginAtOnePlace(snapshot: PoolClient, generation: number, partition: number): Promise<number | undefined> {
    if (!(await isClose(owner, generation))) return undefined
    const recorded = await inTransaction(owner, async (client) => {
      await client.query(`SET LOCAL lock_timeout = '${SWAP_WAIT}ms'`)
      const held = await holdRecorder(client, partition)
      if (!(await isThere(client, generation, held))) return undefined
      await snapshot.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
      // The first statement takes the snapshot.
      const places = await placesOf(snapshot, READER)
      return places.get(partition)
    })
    if (recorded === undefined) return undefined
    return (await placesOf(snapshot, derivedReader(generation))).get(partition) === recorded ? recorded : undefined
  }

  const operations: OperationStore = {
    ...createOperationRows(owner, (projection) => projection === DERIVED),
    makeGeneration: () =>
      inTransaction(owner, async (client) => {
        await lockProjection(client, DERIVED)
        const newest = await newestVersion(client, DERIVED)
        if (newest > FOLD_VERSION) return { newest }
        // A step that died after the commit left one: it is taken up again.
        const { rows } = await client.query<{ generation: number }>(
          "SELECT generation FROM refold.generations WHERE projection = $1 AND state = 'building' AND version = $2",
          [DERIVED, FOLD_VERSION],
        )
        return { generation: rows[0]?.generation ?? (await addGeneration(client)) }
      }),
    dropGeneration: (_, generation) => retireGeneration(owner, DERIVED, generation, derivedReader(generation)),
    dropRetired: () => dropRetired(owner),
    isLive: async (_, generation) => (await stands(owner)).live === generation,
    async notComparable(_, generation) {
      const { live, version } = await stands(owner)
      const { rows } = await owner.query<{ version: number }>(
        'SELECT version FROM refold.generations WHERE projection = $1 AND generation = $2',
        [DERIVED, generation],
      )
      const built = rows[0]?.version
      if (built === version) return undefined
      return `the live generation ${live} is of fold version ${version}, this one of version ${built}`
    },
    async progress(_, generation) {
      const recorded = await placesOf(owner, READER)
      const places = await placesOf(owner, derivedReader(generation))
      return [...places].map(([partition, next]) => {
        const live = recorded.get(partition) ?? 0
        return { partition, next, live, recorded: live, parked: null }
      })
    },
    // Whose code is of another fold does not go back to it, and recorders don't tell what they fold.
    unfoldedVersion: async () => undefined,
    // The recorder is held by its row's lock, for a moment, and nothing else needs holding.
    hold: async () => undefined,
    async compare(_, generation, partition) {
      const { live } = await stands(owner)
      const client = await engine.connect()
      try {
        const at = await beginAtOnePlace(client, generation, partition)
        if (at === undefined) return 'apart'
        // This pool's connections look rows up by keys; here whole partitions are joined.
        await client.query('SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on')
        const parts: Compared[] = []
        for (const [table, key] of Object.entries(TABLES))
          if (key) parts.push(await compareTable(client, derivedSchema(live), derivedSchema(generation), table, key, partition))
        const sum = (pick: (part: Compared) => number) => parts.reduce((total, part) => total + pick(part), 0)
        return {
          partition,
          at,
          live: sum((part) => part.live),
          built: sum((part) => part.built),
          differing: sum((part) => part.differing),
          shown: parts.flatMap(({ shown }) => shown).slice(0, SHOWN),
        }
      } catch (error) {
        if (isBusy(error)) return 'apart'
        throw error
      } finally {
        await client.query('ROLLBACK').catch(() => undefined)
        client.release()
      }
    },
    async promote(_, generation) {
      try {
        return await inTransaction(owner, (client) => swap(client, generation))
      } catch (error) {
        if (isBusy(error)) return 'busy'
        throw error
      }
    },
  }

  return {
    operations,
    /** Generations that this code folds and that are not live. */
    async followed(): Promise<readonly { generation: number; state: 'building' | 'following' }[]> {
      const { rows } = await owner.query<{ generation: number; state: 'building' | 'following' }>(
        `SELECT generation, state FROM refold.generations
         WHERE projection = $1 AND version = $2 AND state IN ('building', 'following') ORDER BY generation`,
        [DERIVED, FOLD_VERSION],
      )
      return rows
    },
    /** Asks for tables of this code's fold, where there are none. */
    async sync(): Promise<void> {
      const { version } = await stands(owner)
      if (version >= FOLD_VERSION) return
      await owner.query('UPDATE refold.projections SET version = greatest(version, $2) WHERE name = $1', [DERIVED, FOLD_VERSION])
      await requestReset(owner, DERIVED, `fold version ${FOLD_VERSION} was deployed`)
    },
    checkpoints: () => placesOf(owner, READER),
  }
}
