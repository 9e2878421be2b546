// Rows given as arrays, one a column, written by one statement: inserted, or put in the place of those with the same key.

/** Column → type of its values. */
export type Columns = Readonly<Record<string, string>>

export type Upsert = {
  table: string
  columns: Columns
  /** Columns that name a row; absent: rows are only added. */
  key?: readonly string[]
  /** Columns that stay as they were. */
  keeps?: readonly string[]
  /** Column → its next value, of `r` (as it is) and `excluded` (as given). */
  merge?: Readonly<Record<string, string>>
}

export type Value = string | number | null

/** `first`: number of its first parameter. `join`: what the rows are joined to, as `v`, before they are written. */
export function upsertText({ table, columns, key, keeps = [], merge = {} }: Upsert, first = 1, join = ''): string {
  const names = Object.keys(columns)
  const list = names.join(', ')
  const values = names.map((name, i) => `$${first + i}::${columns[name]}[]`).join(', ')
  const insert = `INSERT INTO ${table} AS r (${list}) SELECT ${names.map((name) => `v.${name}`).join(', ')} FROM unnest(${values}) AS v (${list}) ${join}`
  if (!key) return insert
  const set = names.filter((name) => !key.includes(name) && !keeps.includes(name))
  return `${insert} ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${set.map((name) => `${name} = ${merge[name] ?? `excluded.${name}`}`).join(', ')}`
}

/** Parameters of `upsertText` for rows, each a list of values in the order of the columns. */
export const columnsOf = (spec: Upsert, rows: readonly (readonly Value[])[]): Value[][] =>
  Object.keys(spec.columns).map((_, column) => rows.map((row) => row[column] ?? null))
