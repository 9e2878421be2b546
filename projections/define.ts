// accepted events → [projection] → rows → SQL, REST
//
// The contract of a projection: a named fold of accepted events into rows, or a handler that writes rows itself. Pure: which
// generation it fills, and where its tables are, is the projector's (consumers/projector.ts).

import type { ProjectionEvent } from './event.ts'

/** Types of columns, in Postgres' words. `bigint` is a number in folds (safe integers); times are ISO 8601 text. */
export type ColumnType = 'text' | 'integer' | 'bigint' | 'double precision' | 'boolean' | 'timestamptz' | 'uuid' | 'json'

type ValueOf<T extends ColumnType> = T extends 'integer' | 'bigint' | 'double precision'
  ? number
  : T extends 'boolean'
    ? boolean
    : T extends 'json'
      ? unknown
      : string

export type Columns = Readonly<Record<string, ColumnType>>
/** A row; what is no part of the key may be null. */
export type Row<C extends Columns, K extends keyof C = never> = { [N in keyof C]: N extends K ? ValueOf<C[N]> : ValueOf<C[N]> | null }
export type Key<C extends Columns, K extends keyof C> = { [N in K]: ValueOf<C[N]> }

/** How partitions come together in the view: `rows` as they are; `sum`: one row a key, numbers added up over partitions. */
export type ViewKind = 'rows' | 'sum'

/** What of an event must come from the audit: its seq and the states as the fold computed them. */
export type Uses = 'audit'

type Common = {
  readonly kind: 'projection'
  readonly name: string
  /** Another number is another definition: it gets a new generation. */
  readonly version: number
  readonly uses: readonly Uses[]
  readonly tables: readonly TableDefinition[]
}

export type TableDefinition = {
  readonly name: string
  readonly columns: Columns
  /** Beside tenant and partition, which each table has. */
  readonly key: readonly string[]
  readonly view: ViewKind
}

/** Rows are plain objects here; authors see them typed. */
export type PlainRow = Record<string, unknown>

export type FoldProjection = Common & {
  readonly how: 'fold'
  keys(event: ProjectionEvent): readonly PlainRow[]
  initial(key: PlainRow): PlainRow
  evolve(row: PlainRow, event: ProjectionEvent): PlainRow | null
}

/** SQL of a handler, in its generation's schema: tables are named without one. */
export type ProjectionTransaction = { query(text: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]> }

export type HandledProjection = Common & {
  readonly how: 'handle'
  handle(tx: ProjectionTransaction, events: readonly ProjectionEvent[]): Promise<void>
}

export type Projection = FoldProjection | HandledProjection

type Names = { name: string; version: number; uses?: readonly Uses[] }

export type FoldOptions<C extends Columns, K extends keyof C & string> = Names & {
  columns: C
  /** Columns that name a row; tenant and partition come by themselves. */
  key: readonly K[]
  /** Rows that an event touches; none: it is passed over. */
  keys: (event: ProjectionEvent) => readonly Key<C, K>[]
  /** A row before its first event. */
  initial: (key: Key<C, K>) => Row<C, K>
  /** The row after an event; null removes it. Pure: it may be run again. */
  evolve: (row: Row<C, K>, event: ProjectionEvent) => Row<C, K> | null
  view?: ViewKind
  handle?: never
}

export type HandleOptions = Names & {
  tables: Readonly<Record<string, { columns: Columns; key: readonly string[]; view?: ViewKind }>>
  /** Writes the rows of a batch; runs in the transaction that moves the checkpoint. Each table has tenant and partition too. */
  handle: (tx: ProjectionTransaction, events: readonly ProjectionEvent[]) => Promise<void>
  evolve?: never
  keys?: never
}

const NAME = /^[a-z][a-z0-9_]{0,39}$/
const RESERVED = new Set(['partition', 'tenant', 'last_offset', 'last_position'])
/** Parameters of GET …/rows (api/projections.ts), beside which each key column is one. minPosition is no name of a column. */
const PARAMETERS = new Set(['limit', 'cursor', 'table'])
const TYPES: ReadonlySet<string> = new Set<ColumnType>([
  'text',
  'integer',
  'bigint',
  'double precision',
  'boolean',
  'timestamptz',
  'uuid',
  'json',
])
const NUMBERS: ReadonlySet<string> = new Set<ColumnType>(['integer', 'bigint', 'double precision'])

function checkTable(projection: string, { name, columns, key, view }: TableDefinition): void {
  const where = name === projection ? `projection ${projection}` : `projection ${projection}, table ${name}`
  if (!NAME.test(name)) throw new TypeError(`${where}: a name is lower case, begins with a letter, has letters, digits and _, at most 40`)
  for (const [column, type] of Object.entries(columns)) {
    if (!NAME.test(column)) throw new TypeError(`${where}: ${JSON.stringify(column)} is no name of a column`)
    if (RESERVED.has(column)) throw new TypeError(`${where}: every table has a column ${column} already`)
    if (!TYPES.has(type)) throw new TypeError(`${where}: column ${column} has type ${type}; types are ${[...TYPES].join(', ')}`)
  }
  if (key.length === 0) throw new TypeError(`${where} has no primary key: name its columns in key`)
  const unknown = key.find((column) => !(column in columns))
  if (unknown !== undefined) throw new TypeError(`${where}: key column ${unknown} is not among its columns`)
  const json = key.find((column) => columns[column] === 'json')
  if (json !== undefined) throw new TypeError(`${where}: key column ${json} is json, which has no order`)
  const parameter = key.find((column) => PARAMETERS.has(column))
  if (parameter !== undefined)
    throw new TypeError(
      `${where}: key column ${parameter}: REST filters rows by key columns, and ${parameter} is a parameter of its own there; name it otherwise`,
    )
  const other = Object.keys(columns).filter((column) => !key.includes(column) && !NUMBERS.has(columns[column] ?? ''))
  if (view === 'sum' && other.length > 0) throw new TypeError(`${where}: view sum adds numbers up; ${other.join(', ')} is none`)
}

function checkNames({ name, version }: Names): void {
  if (!NAME.test(name)) throw new TypeError(`projection name ${JSON.stringify(name)}: lower case letters, digits and _, at most 40`)
  if (name === 'derived') throw new TypeError("projection name derived: the recorder's own tables have it, take another")
  if (!Number.isSafeInteger(version) || version < 1) throw new TypeError(`projection ${name}: version is a whole number from 1`)
}

/** Throws TypeError where a name, a column or the key is none. */
export function defineProjection(options: HandleOptions): HandledProjection
// The last, since the compiler tells what is wrong by the last: in a fold more can be.
export function defineProjection<const C extends Columns, K extends keyof C & string>(options: FoldOptions<C, K>): FoldProjection
export function defineProjection(options: FoldOptions<Columns, string> | HandleOptions): Projection {
  checkNames(options)
  const { name, version, uses = [] } = options
  const common = { kind: 'projection', name, version, uses } as const
  if (options.handle) {
    const tables = Object.entries(options.tables).map(([table, { columns, key, view = 'rows' }]) => ({ name: table, columns, key, view }))
    for (const table of tables) checkTable(name, table)
    if (tables.length === 0) throw new TypeError(`projection ${name} has no table`)
    return { ...common, how: 'handle', tables, handle: options.handle }
  }
  const { columns, key, keys, initial, evolve, view = 'rows' } = options
  const table = { name, columns, key, view }
  checkTable(name, table)
  return { ...common, how: 'fold', tables: [table], keys, initial, evolve }
}

/** What must be equal under one version: tables, columns, keys. As text, for the database. */
export const definitionText = ({ how, tables, uses }: Projection): string =>
  JSON.stringify({ how, uses, tables: tables.map(({ name, columns, key, view }) => ({ name, columns, key, view })) })
