// Reads of projections: how each stands, its rows, its operations.

import { sql } from 'slonik'
import { z } from 'zod'
import { RefoldError } from '../../errors.ts'
import type { Columns, ColumnType, TableDefinition } from '../../projections/define.ts'
import { formatPosition } from '../../workflow/position.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { ReadPool, Transaction } from './pool.ts'
import { timeText } from './time.ts'

const generationShape = z.object({
  generation: z.number(),
  version: z.number(),
  state: z.string(),
  made_at: z.string(),
  parked: z.array(z.object({ partition: z.number(), offset: z.number() })),
})
const placeShape = z.object({ partition: z.number(), next: z.number(), recorded: z.number(), parked: z.number().nullable() })

const projectionRow = z.object({
  name: z.string(),
  version: z.number(),
  live_generation: z.number().nullable(),
  previous_generation: z.number().nullable(),
  stopped_at: z.string().nullable(),
  generations: z.string().transform((text) => z.array(generationShape).parse(JSON.parse(text))),
  places: z.string().transform((text) => z.array(placeShape).parse(JSON.parse(text))),
  tables: z.string().transform((text) => JSON.parse(text) as readonly TableDefinition[]),
  operation: z.string().nullable(),
  folded_by: z.number(),
})
export type ProjectionRow = z.infer<typeof projectionRow>

const PROJECTIONS = sql.fragment`
  SELECT p.name, p.version, p.live_generation, p.previous_generation, ${timeText('stopped_at')},
    (SELECT coalesce(json_agg(json_build_object('generation', g.generation, 'version', g.version, 'state', g.state, 'made_at', g.made_at,
       'parked', (SELECT coalesce(json_agg(json_build_object('partition', k.partition, 'offset', k.parked_at) ORDER BY k.partition), '[]')
         FROM refold.checkpoints k WHERE k.reader = p.name || '@g' || g.generation AND k.parked_at IS NOT NULL))
       ORDER BY g.generation), '[]') FROM refold.generations g WHERE g.projection = p.name AND g.state <> 'retired')::text AS generations,
    (SELECT coalesce(json_agg(json_build_object('partition', c.partition, 'next', c.next_offset, 'recorded', coalesce(r.next_offset, 0),
       'parked', c.parked_at)
       ORDER BY c.partition), '[]') FROM refold.checkpoints c LEFT JOIN refold.checkpoints r ON r.reader = 'recorder' AND r.partition = c.partition
     WHERE c.reader = CASE p.name WHEN 'derived' THEN 'recorder' ELSE p.name || '@g' || p.live_generation END)::text AS places,
    coalesce((SELECT g.definition::json ->> 'tables' FROM refold.generations g
       WHERE g.projection = p.name AND g.generation = p.live_generation), '[]') AS tables,
    (SELECT o.id::text FROM refold.operations o WHERE o.projection = p.name AND o.ended_at IS NULL) AS operation,
    (SELECT count(*) FROM refold.processes s
     WHERE s.seen_at > now() - interval '30 seconds' AND p.name || '@g' || p.live_generation = ANY (s.generations))::int AS folded_by
  FROM refold.projections p`

export const readProjections = (pool: ReadPool, tenant: string): Promise<readonly ProjectionRow[]> =>
  pool.read(tenant, (transaction) => transaction.any(sql.type(projectionRow)`${PROJECTIONS} ORDER BY p.name`))

const one = (transaction: Transaction, name: string) => transaction.maybeOne(sql.type(projectionRow)`${PROJECTIONS} WHERE p.name = ${name}`)

export const readProjection = (pool: ReadPool, tenant: string, name: string): Promise<ProjectionRow | null> =>
  pool.read(tenant, (transaction) => one(transaction, name))

const sizeRow = z.object({ bytes: z.string() })

/** Bytes on disk of a generation's tables, with their indexes. */
export const readGenerationSize = (pool: ReadPool, tenant: string, name: string, generation: number): Promise<number> =>
  pool.read(tenant, async (transaction) => {
    const { bytes } = await transaction.one(sql.type(sizeRow)`
      SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::text AS bytes
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = (SELECT schema_name FROM refold.generations WHERE projection = ${name} AND generation = ${generation}) AND c.relkind = 'r'`)
    return Number(bytes)
  })

/** Partition → checkpoint of the live generation. */
export const placesOf = ({ places }: ProjectionRow): Checkpoints => new Map(places.map(({ partition, next }) => [partition, next]))

const skipRow = z.object({ partition: z.number(), log_offset: z.string(), reason: z.string() })

/** Position of each event that a person let a generation pass, with the reason. */
export const readSkips = (pool: ReadPool, tenant: string, name: string, generation: number): Promise<ReadonlyMap<string, string>> =>
  pool.read(tenant, async (transaction) => {
    const rows = await transaction.any(sql.type(skipRow)`
      SELECT partition, log_offset::text AS log_offset, reason FROM refold.projection_skips
      WHERE projection = ${name} AND generation = ${generation}`)
    return new Map(rows.map(({ partition, log_offset: offset, reason }) => [formatPosition({ partition, offset: Number(offset) }), reason]))
  })

const operationRow = z.object({
  id: z.string(),
  projection: z.string(),
  kind: z.string(),
  generation: z.number().nullable(),
  state: z.string(),
  reason: z.string(),
  progress: z.string().transform((text) => JSON.parse(text) as Record<string, unknown>),
  comparison: z
    .string()
    .nullable()
    .transform((text) => (text === null ? null : (JSON.parse(text) as Record<string, unknown>))),
  log: z.string().transform((text) => JSON.parse(text) as readonly { at: string; line: string }[]),
  wanted: z.string().nullable(),
  requested_at: z.string(),
  changed_at: z.string(),
  ended_at: z.string().nullable(),
})
export type OperationRow = z.infer<typeof operationRow>

const OPERATIONS = sql.fragment`
  SELECT id::text AS id, projection, kind, generation, state, reason, progress::text AS progress, comparison::text AS comparison,
    log::text AS log, wanted, ${timeText('requested_at')}, ${timeText('changed_at')}, ${timeText('ended_at')} FROM refold.operations o`

/** The newest first; of all projections, or of one. */
export const readOperations = (pool: ReadPool, tenant: string, limit: number, projection?: string): Promise<readonly OperationRow[]> =>
  pool.read(tenant, (transaction) => {
    const those = projection === undefined ? sql.fragment`` : sql.fragment`WHERE o.projection = ${projection}`
    return transaction.any(sql.type(operationRow)`${OPERATIONS} ${those} ORDER BY o.requested_at DESC LIMIT ${limit}`)
  })

export const readOperation = (pool: ReadPool, tenant: string, id: string): Promise<OperationRow | null> =>
  pool.read(tenant, (transaction) => transaction.maybeOne(sql.type(operationRow)`${OPERATIONS} WHERE id = ${id}`))

export type RowFilter = {
  table?: string | undefined
  /** Values of key columns, as text. */
  where: Readonly<Record<string, string>>
  limit: number
  /** Key of the last row of the page before, in order of the key; partition last, of views that show it. */
  after?: readonly string[] | undefined
}

export type RowPage = {
  rows: readonly string[]
  next?: readonly string[]
  checkpoints: Checkpoints
  frozen: boolean
  /** Whose rows these are. */
  generation: number | null
}

/** A row found by its key (values as text, in order of the key); its partition where the view shows it. */
export type KeyedRow = { row: string; key: readonly string[]; partition: number | null }

const CASTS: Readonly<Record<ColumnType, ReturnType<typeof sql.fragment>>> = {
  text: sql.fragment`::text`,
  integer: sql.fragment`::integer`,
  bigint: sql.fragment`::bigint`,
  'double precision': sql.fragment`::double precision`,
  boolean: sql.fragment`::boolean`,
  timestamptz: sql.fragment`::timestamptz`,
  uuid: sql.fragment`::uuid`,
  json: sql.fragment`::json`,
}

const rowText = z.object({ row: z.string(), key: z.string() })

/** A value as JSON keeps it whole: int64 as text. */
function jsonPair(name: string, columns: Columns) {
  const column = sql.identifier([name])
  const type = columns[name]
  if (type === 'bigint') return sql.fragment`${sql.literalValue(name)}, ${column}::text`
  if (type === 'timestamptz')
    return sql.fragment`${sql.literalValue(name)}, to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
  return sql.fragment`${sql.literalValue(name)}, ${column}`
}

const shownOf = ({ columns, view }: TableDefinition) =>
  sql.join(
    [
      ...Object.keys(columns).map((column) => jsonPair(column, columns)),
      ...(view === 'rows' ? [sql.fragment`'last_position', last_position`] : []),
    ],
    sql.fragment`, `,
  )

const keyedRow = z.object({ row: z.string(), key: z.string(), partition: z.number().nullable() })

/** Keys of one question. */
const KEYS_AT_ONCE = 500

/** Rows of the first table of a projection's live generation by their keys, given as text. Null: there is no such projection. */
export function readRowsByKey(
  pool: ReadPool,
  tenant: string,
  name: string,
  keys: readonly (readonly string[])[],
): Promise<{ rows: readonly KeyedRow[]; generation: number | null } | null> {
  return pool.read(tenant, async (transaction) => {
    const projection = await one(transaction, name)
    const definition = projection?.tables[0]
    if (!projection || !definition) return null
    const { columns, key, view } = definition
    const named = sql.join(
      key.map((column) => sql.identifier([column])),
      sql.fragment`, `,
    )
    const texts = sql.join(
      key.map((column) => sql.fragment`${sql.identifier([column])}::text`),
      sql.fragment`, `,
    )
    const partition = view === 'rows' ? sql.fragment`partition` : sql.fragment`NULL::int`
    const rows: KeyedRow[] = []
    for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
      const wanted = keys.slice(at, at + KEYS_AT_ONCE).map((values) => {
        const cast = key.map((column, i) => sql.fragment`${values[i] ?? ''}${CASTS[columns[column] ?? 'text']}`)
        return sql.fragment`(${sql.join(cast, sql.fragment`, `)})`
      })
      const found = await transaction.any(sql.type(keyedRow)`
        SELECT json_build_object(${shownOf(definition)})::text AS row, json_build_array(${texts})::text AS key, ${partition} AS partition
        FROM ${sql.identifier(['projections', definition.name])}
        WHERE tenant = ${tenant} AND (${named}) IN (${sql.join(wanted, sql.fragment`, `)})`)
      for (const { key: text, ...row } of found) rows.push({ ...row, key: z.array(z.string()).parse(JSON.parse(text)) })
    }
    return { rows, generation: projection.live_generation }
  })
}

/** Rows of a projection's live generation, in order of their key, as JSON texts. Null: there is no such projection or table. */
export function readRows(pool: ReadPool, tenant: string, name: string, { table, where, limit, after }: RowFilter): Promise<RowPage | null> {
  return pool.read(tenant, async (transaction) => {
    const projection = await one(transaction, name)
    const definition =
      projection?.tables.find((each) => each.name === (table ?? name)) ?? (table === undefined ? projection?.tables[0] : undefined)
    if (!projection || !definition) return null
    const { columns, key, view } = definition
    const order = [...key, ...(view === 'rows' ? ['partition'] : [])]
    const cast = (column: string) => CASTS[columns[column] ?? 'integer']
    const conditions = [sql.fragment`tenant = ${tenant}`]
    for (const [column, value] of Object.entries(where)) {
      if (!key.includes(column))
        throw new RefoldError('request-invalid', `${column} is no key of ${definition.name}; keys are ${key.join(', ')}`)
      conditions.push(sql.fragment`${sql.identifier([column])} = ${value}${cast(column)}`)
    }
    if (after && after.length !== order.length) throw new RefoldError('request-invalid', 'cursor: is not one that this API gave')
    if (after) {
      const columnsAfter = sql.join(
        order.map((column) => sql.identifier([column])),
        sql.fragment`, `,
      )
      const valuesAfter = sql.join(
        order.map((column, i) => sql.fragment`${after[i] ?? ''}${cast(column)}`),
        sql.fragment`, `,
      )
      conditions.push(sql.fragment`(${columnsAfter}) > (${valuesAfter})`)
    }
    const keyTexts = sql.join(
      order.map((column) => sql.fragment`${sql.identifier([column])}::text`),
      sql.fragment`, `,
    )
    const asked = transaction.any(sql.type(rowText)`
      SELECT json_build_object(${shownOf(definition)})::text AS row, json_build_array(${keyTexts})::text AS key
      FROM ${sql.identifier(['projections', definition.name])} WHERE ${sql.join(conditions, sql.fragment` AND `)}
      ORDER BY ${sql.join(
        order.map((column) => sql.identifier([column])),
        sql.fragment`, `,
      )} LIMIT ${limit + 1}`)
    const found = await asked.catch((error: unknown) => {
      const { code, message } = error as { code?: string; message?: string }
      // Class 22: a value that is none of its column's type.
      if (typeof code !== 'string' || !code.startsWith('22')) throw error
      const types = key.map((column) => `${column} is ${columns[column]}`).join(', ')
      throw new RefoldError('request-invalid', `a filter or the cursor: ${message}; ${types}`, { cause: error })
    })
    const page = found.slice(0, limit)
    const last = page.at(-1)
    const live = projection.generations.find(({ generation }) => generation === projection.live_generation)
    return {
      rows: page.map(({ row }) => row),
      checkpoints: placesOf(projection),
      frozen: live?.version !== projection.version,
      generation: projection.live_generation,
      ...(found.length > limit && last ? { next: z.array(z.string()).parse(JSON.parse(last.key)) } : {}),
    }
  })
}
