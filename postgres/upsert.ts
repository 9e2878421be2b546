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

/** `first`: number of its first parameter. `where`: which of the rows, named `v`, are written. */
export function upsertText({ table, columns, key, keeps = [], merge = {} }: Upsert, first = 1, where = ''): string {
  const names = Object.keys(columns)
  const list = names.join(', ')
  const values = names.map((name, i) => `$${first + i}::${columns[name]}[]`).join(', ')
  const insert = `INSERT INTO ${table} AS r (${list}) SELECT ${names.map((name) => `v.${name}`).join(', ')} FROM unnest(${values}) AS v (${list}) ${where}`
  if (!key) return insert
  const set = names.filter((name) => !key.includes(name) && !keeps.includes(name))
  return `${insert} ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${set.map((name) => `${name} = ${merge[name] ?? `excluded.${name}`}`).join(', ')}`
}

/** Parameters of `upsertText` for rows, each a list of values in the order of the columns. */
export const columnsOf = (spec: Upsert, rows: readonly (readonly Value[])[]): string[] =>
  Object.keys(spec.columns).map((_, column) => arrayOf(rows, (row) => row[column] ?? null))

const SPECIAL = /["\\]/
const EACH_SPECIAL = /["\\]/g

/** An array as Postgres reads it: pg's own way of making one costs a batch of the recorder as much again as all else that pg does. */
export function arrayOf<T>(rows: readonly T[], value: (row: T) => Value): string {
  let text = '{'
  for (const row of rows) {
    const one = value(row)
    if (text.length > 1) text += ','
    if (one === null) text += 'NULL'
    else if (typeof one === 'number') text += one
    else text += SPECIAL.test(one) ? `"${one.replace(EACH_SPECIAL, '\\$&')}"` : `"${one}"`
  }
  return `${text}}`
}
