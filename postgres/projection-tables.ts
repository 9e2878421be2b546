// How a projection's tables look in Postgres: one schema a generation, one view a table over the live one.

import type { ColumnType, PlainRow, TableDefinition } from '../projections/define.ts'

export const schemaOf = (projection: string, generation: number) => `refold_p_${projection}_g${generation}`
export const readerOf = (projection: string, generation: number) => `${projection}@g${generation}`

/** Names are checked when a projection is defined: lower case letters, digits and _. */
export const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`

const tableDdl = (schema: string, { name, columns, key }: TableDefinition): string => {
  const lines = Object.entries(columns).map(([column, type]) => `${quoted(column)} ${type}${key.includes(column) ? ' NOT NULL' : ''}`)
  const primary = ['tenant', ...key.map(quoted), 'partition'].join(', ')
  const table = `${quoted(schema)}.${quoted(name)}`
  return `
    CREATE TABLE IF NOT EXISTS ${table} (
      partition integer NOT NULL, tenant text NOT NULL, ${lines.join(', ')}, last_offset bigint,
      PRIMARY KEY (${primary})) WITH (fillfactor = 80);
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ${table} TO refold_engine;
    GRANT SELECT ON ${table} TO refold_api, refold_reader;
    ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS one_tenant ON ${table};
    CREATE POLICY one_tenant ON ${table} TO refold_api USING (tenant = current_setting('refold.tenant', true));
    DROP POLICY IF EXISTS every_tenant ON ${table};
    CREATE POLICY every_tenant ON ${table} FOR SELECT TO refold_reader USING (true);`
}

/** Makes a generation's schema and tables, as far as they are not there. */
export const generationDdl = (schema: string, tables: readonly TableDefinition[]): string => `
  CREATE SCHEMA IF NOT EXISTS ${quoted(schema)};
  GRANT USAGE ON SCHEMA ${quoted(schema)} TO refold_engine, refold_api, refold_reader;
  ${tables.map((table) => tableDdl(schema, table)).join('\n')}`

const SUMMED: Partial<Record<ColumnType, string>> = { integer: 'bigint', bigint: 'bigint', 'double precision': 'double precision' }

function viewBody(schema: string, { name, columns, key, view }: TableDefinition): string {
  const table = `${quoted(schema)}.${quoted(name)}`
  if (view === 'rows') {
    const all = [
      'tenant',
      ...Object.keys(columns).map(quoted),
      'partition',
      'last_offset',
      "'p' || partition || ':' || last_offset AS last_position",
    ]
    return `SELECT ${all.join(', ')} FROM ${table}`
  }
  const summed = Object.entries(columns)
    .filter(([column]) => !key.includes(column))
    .map(([column, type]) => `sum(${quoted(column)})::${SUMMED[type] ?? 'bigint'} AS ${quoted(column)}`)
  const keys = ['tenant', ...key.map(quoted)]
  return `SELECT ${[...keys, ...summed].join(', ')} FROM ${table} GROUP BY ${keys.join(', ')}`
}

/** Points the views at a generation; `anew` where their columns change. */
export const viewsDdl = (schema: string, tables: readonly TableDefinition[], anew: boolean): string =>
  tables
    .map((table) => {
      const view = `projections.${quoted(table.name)}`
      return `
        ${anew ? `DROP VIEW IF EXISTS ${view};` : ''}
        CREATE OR REPLACE VIEW ${view} WITH (security_invoker = true) AS ${viewBody(schema, table)};
        GRANT SELECT ON ${view} TO refold_api, refold_reader, refold_engine;`
    })
    .join('\n')

/** A column as text or number that loses nothing a fold may use. */
export function selected(column: string, type: ColumnType, of = ''): string {
  const name = `${of}${quoted(column)}`
  if (type === 'bigint') return `${name}::float8 AS ${quoted(column)}`
  if (type === 'timestamptz') return `to_char(${name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS ${quoted(column)}`
  return type === 'json' || type === 'uuid' ? `${name}::text AS ${quoted(column)}` : `${name} AS ${quoted(column)}`
}

/** A row as it came from such a SELECT, as folds know it. */
export function readRow(row: PlainRow, { columns }: TableDefinition): PlainRow {
  const read: PlainRow = {}
  for (const [column, type] of Object.entries(columns)) {
    const value = row[column]
    read[column] = type === 'json' && typeof value === 'string' ? (JSON.parse(value) as unknown) : value
  }
  return read
}

/** Values of a column, as a parameter. */
export const column = (rows: readonly PlainRow[], name: string, type: ColumnType): unknown[] =>
  rows.map((row) => {
    const value = row[name] ?? null
    return type === 'json' && value !== null ? JSON.stringify(value) : value
  })
