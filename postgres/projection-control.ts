// Generations and operations of projections in Postgres: the port OperationStore (consumers/operations.ts), and what a
// projector must know to run.

import type { Pool, PoolClient } from 'pg'
import type { Difference, OperationStore, PartitionComparison, PartitionProgress } from '../consumers/operations.ts'
import { RefoldError } from '../errors.ts'
import { definitionText, type Projection, type TableDefinition } from '../projections/define.ts'
import { closeIncidentsOfRetired, createOperationRows, isBusy, lockProjection, newestVersion, SWAP_WAIT } from './operation-rows.ts'
import { inTransaction } from './pool.ts'
import { generationDdl, quoted, readerOf, schemaOf, viewsDdl } from './projection-tables.ts'
import { dropRetired, retireGeneration } from './retired.ts'

export type Generation = {
  projection: string
  generation: number
  version: number
  state: 'building' | 'live' | 'following'
  stopped: boolean
}

/** How long a hold lasts unless it is renewed, s. */
const HOLD = 10
const SHOWN = 100

type StoredDefinition = { tables: TableDefinition[] }

const nextOffset = (client: Pool | PoolClient, reader: string) =>
  client.query<{ partition: number; next_offset: string }>(
    'SELECT partition, next_offset FROM refold.checkpoints WHERE reader = $1 ORDER BY partition',
    [reader],
  )

/**
 * `pool` connects as the role that logs in: it makes schemas and views. `partitions` is the topic's count: each generation
 * has a checkpoint row for each.
 */
export function createProjectionControl(pool: Pool, projections: readonly Projection[], partitions: number) {
  const byName = new Map(projections.map((one) => [one.name, one]))

  async function addGeneration(client: PoolClient, projection: Projection, state: 'building' | 'live'): Promise<number> {
    const { rows } = await client.query<{ next: number }>(
      'SELECT coalesce(max(generation), 0) + 1 AS next FROM refold.generations WHERE projection = $1',
      [projection.name],
    )
    const generation = rows[0]?.next ?? 1
    const schema = schemaOf(projection.name, generation)
    await client.query(generationDdl(schema, projection.tables))
    await client.query(
      'INSERT INTO refold.generations (projection, generation, version, definition, schema_name, state) VALUES ($1, $2, $3, $4, $5, $6)',
      [projection.name, generation, projection.version, definitionText(projection), schema, state],
    )
    await client.query(
      'INSERT INTO refold.checkpoints (reader, partition, next_offset) SELECT $1, p, 0 FROM generate_series(0, $2 - 1) p ON CONFLICT DO NOTHING',
      [readerOf(projection.name, generation), partitions],
    )
    return generation
  }

  async function checkDefinition(client: PoolClient, projection: Projection): Promise<void> {
    const { rows } = await client.query<{ definition: string }>(
      "SELECT definition FROM refold.generations WHERE projection = $1 AND version = $2 AND state <> 'retired'",
      [projection.name, projection.version],
    )
    const other = rows.find(({ definition }) => definition !== definitionText(projection))
    if (other)
      throw new RefoldError('projection-changed', `${projection.name} version ${projection.version}: tables, columns or keys are others`)
    for (const { name } of projection.tables) {
      const taken = await client.query<{ projection: string }>(
        `SELECT projection FROM refold.generations WHERE projection <> $1 AND state <> 'retired'
           AND EXISTS (SELECT FROM json_array_elements(definition::json -> 'tables') t WHERE t ->> 'name' = $2)`,
        [projection.name, name],
      )
      if (taken.rows[0])
        throw new RefoldError('projection-name-taken', `table ${name} of ${projection.name} is one of ${taken.rows[0].projection} already`)
    }
  }

  /** Makes what a projection of the code lacks: its first generation, or an operation that builds its new version. */
  async function sync(projection: Projection): Promise<void> {
    const { name, version } = projection
    await inTransaction(pool, async (client) => {
      await lockProjection(client, name)
      await client.query(
        `INSERT INTO refold.projections AS p (name, version) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET version = greatest(p.version, excluded.version)`,
        [name, version],
      )
      await checkDefinition(client, projection)
      // Versions before this one left them open.
      await closeIncidentsOfRetired(client, name)
      const { rows } = await client.query<{ live_generation: number | null; version: number }>(
        'SELECT live_generation, version FROM refold.projections WHERE name = $1',
        [name],
      )
      if (rows[0]?.live_generation == null) {
        const generation = await addGeneration(client, projection, 'live')
        await client.query(viewsDdl(schemaOf(name, generation), projection.tables, true))
        await client.query('UPDATE refold.projections SET live_generation = $2 WHERE name = $1', [name, generation])
        return
      }
      const known = await client.query("SELECT FROM refold.generations WHERE projection = $1 AND version = $2 AND state <> 'retired'", [
        name,
        version,
      ])
      if (known.rowCount === 0 && rows[0].version === version)
        await client.query(
          `INSERT INTO refold.operations (projection, kind, state, reason) VALUES ($1, 'reset', 'requested', $2) ON CONFLICT DO NOTHING`,
          [name, `version ${version} was deployed`],
        )
    })
  }

  async function generations(): Promise<Generation[]> {
    const { rows } = await pool.query<Omit<Generation, 'stopped'> & { stopped: boolean }>(
      `SELECT g.projection, g.generation, g.version, g.state, p.stopped_at IS NOT NULL AS stopped
       FROM refold.generations g JOIN refold.projections p ON p.name = g.projection WHERE g.state <> 'retired' ORDER BY 1, 2`,
    )
    return rows
  }

  /** Of projections that are not stopped, with the generation that is live instead. */
  async function retired(): Promise<{ projection: string; generation: number; live: number }[]> {
    const { rows } = await pool.query<{ projection: string; generation: number; live: number }>(
      `SELECT g.projection, g.generation, p.live_generation AS live FROM refold.generations g JOIN refold.projections p ON p.name = g.projection
       WHERE g.state = 'retired' AND p.stopped_at IS NULL AND p.live_generation IS NOT NULL ORDER BY 1, 2`,
    )
    return rows
  }

  async function liveOf(client: Pool | PoolClient, projection: string): Promise<number> {
    const { rows } = await client.query<{ live_generation: number }>('SELECT live_generation FROM refold.projections WHERE name = $1', [
      projection,
    ])
    return rows[0]?.live_generation ?? 0
  }

  async function tablesOf(client: Pool | PoolClient, projection: string, generation: number): Promise<TableDefinition[]> {
    const { rows } = await client.query<{ definition: string }>(
      'SELECT definition FROM refold.generations WHERE projection = $1 AND generation = $2',
      [projection, generation],
    )
    return (JSON.parse(rows[0]?.definition ?? '{"tables":[]}') as StoredDefinition).tables
  }

  async function compareTable(client: PoolClient, live: string, built: string, table: TableDefinition, partition: number) {
    const { name, columns, key } = table
    const comparable = (one: string) => (columns[one] === 'json' ? `${quoted(one)}::jsonb AS ${quoted(one)}` : quoted(one))
    const all = ['tenant', ...Object.keys(columns).map(comparable)].join(', ')
    const keys = ['tenant', ...key.map(quoted)]
    const rowsOf = (schema: string) => `SELECT ${all} FROM ${quoted(schema)}.${quoted(name)} WHERE partition = $1`
    const same = keys.map((one) => `a.${one} = b.${one}`).join(' AND ')
    const sql = `
      WITH a AS MATERIALIZED (${rowsOf(live)}), b AS MATERIALIZED (${rowsOf(built)}),
      d AS (SELECT CASE WHEN b.tenant IS NULL THEN 'missing' WHEN a.tenant IS NULL THEN 'extra' ELSE 'changed' END AS kind,
              json_build_object(${keys.map((one) => `'${one.replaceAll('"', '')}', coalesce(a.${one}, b.${one})`).join(', ')}) AS key
            FROM a FULL JOIN b ON ${same} WHERE a IS DISTINCT FROM b)
      SELECT (SELECT count(*) FROM a) AS live, (SELECT count(*) FROM b) AS built, (SELECT count(*) FROM d) AS differing,
             (SELECT coalesce(json_agg(x), '[]') FROM (SELECT kind, key FROM d LIMIT ${SHOWN}) x) AS shown`
    const { rows } = await client.query<{ live: string; built: string; differing: string; shown: Omit<Difference, 'table'>[] }>(sql, [
      partition,
    ])
    const row = rows[0]
    return {
      live: Number(row?.live ?? 0),
      built: Number(row?.built ?? 0),
      differing: Number(row?.differing ?? 0),
      shown: (row?.shown ?? []).map((one) => ({ table: name, ...one })),
    }
  }

  const dropGeneration = (name: string, generation: number) => retireGeneration(pool, name, generation, readerOf(name, generation))

  const operations: OperationStore = {
    ...createOperationRows(pool, (projection) => byName.has(projection)),
    makeGeneration(name) {
      const projection = byName.get(name)
      if (!projection) throw new RefoldError('operation-impossible', `${name} is not in the application of this process`)
      return inTransaction(pool, async (client) => {
        await lockProjection(client, name)
        const newest = await newestVersion(client, name)
        // Older than this code's: this code was taken back, and whoever runs it still leaves it alone.
        if (newest !== projection.version) return { newest }
        // A step that died after the commit left one: it is taken up again.
        const { rows } = await client.query<{ generation: number }>(
          "SELECT generation FROM refold.generations WHERE projection = $1 AND state = 'building' AND version = $2",
          [name, projection.version],
        )
        return { generation: rows[0]?.generation ?? (await addGeneration(client, projection, 'building')) }
      })
    },
    dropGeneration,
    dropRetired: () => dropRetired(pool),
    isLive: async (name, generation) => (await liveOf(pool, name)) === generation,
    async notComparable(name, generation) {
      const { rows } = await pool.query<{ live: number; built: number }>(
        `SELECT l.version AS live, b.version AS built FROM refold.projections p
         JOIN refold.generations l ON l.projection = p.name AND l.generation = p.live_generation
         JOIN refold.generations b ON b.projection = p.name AND b.generation = $2 WHERE p.name = $1`,
        [name, generation],
      )
      const found = rows[0]
      if (!found || found.live === found.built) return undefined
      return `the live generation is of version ${found.live}, this one of version ${found.built}`
    },
    async progress(name, generation) {
      const { rows } = await pool.query<{ partition: number; next: string; live: string; recorded: string; parked: string | null }>(
        `SELECT n.partition, n.next_offset AS next, n.parked_at AS parked, coalesce(l.next_offset, 0) AS live, coalesce(r.next_offset, 0) AS recorded
         FROM refold.checkpoints n
         LEFT JOIN refold.checkpoints l ON l.reader = $2 AND l.partition = n.partition
         LEFT JOIN refold.checkpoints r ON r.reader = 'recorder' AND r.partition = n.partition
         WHERE n.reader = $1 ORDER BY n.partition`,
        [readerOf(name, generation), readerOf(name, await liveOf(pool, name))],
      )
      return rows.map((row): PartitionProgress => ({
        partition: row.partition,
        next: Number(row.next),
        live: Number(row.live),
        recorded: Number(row.recorded),
        parked: row.parked === null ? null : Number(row.parked),
      }))
    },
    async unfoldedVersion(name, generation) {
      // Whoever folds one that was made just now says so within a second or two.
      const { rows } = await pool.query<{ version: number }>(
        `SELECT g.version FROM refold.generations g JOIN refold.projections p ON p.name = g.projection
         WHERE p.name = $1 AND g.generation = $2 AND p.stopped_at IS NULL AND g.made_at < now() - interval '5 seconds' AND NOT EXISTS (
           SELECT FROM refold.processes s WHERE s.seen_at > now() - interval '30 seconds' AND $3 = ANY (s.generations))`,
        [name, generation, readerOf(name, generation)],
      )
      return rows[0]?.version
    },
    async hold(name, which, generation, stops) {
      const live = readerOf(name, await liveOf(pool, name))
      // Locked in the order in which projectors lock them.
      await pool.query(
        `WITH stops AS (SELECT * FROM unnest($2::int[], $3::bigint[]) AS s (partition, stop_at)),
         locked AS (SELECT reader, partition FROM refold.checkpoints WHERE reader = ANY ($1) AND partition = ANY ($2) ORDER BY reader, partition FOR UPDATE)
         UPDATE refold.checkpoints c SET stop_at = s.stop_at,
           stop_until = CASE WHEN s.stop_at IS NOT NULL THEN now() + interval '${HOLD} seconds' END
         FROM locked l JOIN stops s USING (partition) WHERE c.reader = l.reader AND c.partition = l.partition`,
        [which === 'both' ? [live, readerOf(name, generation)] : [live], [...stops.keys()], [...stops.values()]],
      )
    },
    async compare(name, generation, partition, taken) {
      const live = await liveOf(pool, name)
      const client = await pool.connect()
      try {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
        const at = async (which: number) =>
          Number((await nextOffset(client, readerOf(name, which))).rows.find((row) => row.partition === partition)?.next_offset ?? 0)
        // The first statement takes the snapshot.
        const position = await at(live)
        if (position !== (await at(generation))) return 'apart'
        await taken()
        let found: PartitionComparison = { partition, at: position, live: 0, built: 0, differing: 0, shown: [] }
        for (const table of await tablesOf(client, name, generation)) {
          const one = await compareTable(client, schemaOf(name, live), schemaOf(name, generation), table, partition)
          found = {
            ...found,
            live: found.live + one.live,
            built: found.built + one.built,
            differing: found.differing + one.differing,
            shown: [...found.shown, ...one.shown].slice(0, SHOWN),
          }
        }
        return found
      } finally {
        const broken = await client.query('ROLLBACK').then(
          () => false,
          () => true,
        )
        client.release(broken)
      }
    },
    promote: (name, generation) => swap(name, generation),
  }

  async function swap(name: string, generation: number): Promise<'promoted' | 'behind' | 'busy'> {
    try {
      return await inTransaction(pool, async (client) => {
        await client.query(`SET LOCAL lock_timeout = '${SWAP_WAIT}ms'`)
        await lockProjection(client, name)
        const live = await liveOf(client, name)
        if (live === generation) return 'promoted'
        const { rows } = await client.query<{ reader: string; partition: number; next_offset: string }>(
          'SELECT reader, partition, next_offset FROM refold.checkpoints WHERE reader = ANY ($1) ORDER BY reader, partition FOR UPDATE',
          [[readerOf(name, live), readerOf(name, generation)]],
        )
        const next = (reader: string, partition: number) =>
          Number(rows.find((row) => row.reader === reader && row.partition === partition)?.next_offset ?? 0)
        const isBehind = rows.some(({ partition }) => next(readerOf(name, generation), partition) < next(readerOf(name, live), partition))
        if (isBehind) return 'behind'
        const [old, made] = [await tablesOf(client, name, live), await tablesOf(client, name, generation)]
        await client.query("UPDATE refold.generations SET state = 'following' WHERE projection = $1 AND generation = $2", [name, live])
        await client.query("UPDATE refold.generations SET state = 'live' WHERE projection = $1 AND generation = $2", [name, generation])
        await client.query(
          'UPDATE refold.projections SET live_generation = $2, previous_generation = $3, changed_at = now() WHERE name = $1',
          [name, generation, live],
        )
        // Last, since readers of the views wait from here to the commit.
        await client.query(viewsDdl(schemaOf(name, generation), made, JSON.stringify(old) !== JSON.stringify(made)))
        return 'promoted'
      })
    } catch (error) {
      if (isBusy(error)) return 'busy'
      throw error
    }
  }

  async function checkpoints(name: string, generation: number): Promise<Map<number, number>> {
    const { rows } = await nextOffset(pool, readerOf(name, generation))
    return new Map(rows.map((row) => [row.partition, Number(row.next_offset)]))
  }

  return { sync, generations, retired, operations, checkpoints, dropGeneration }
}
