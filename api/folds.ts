// The code of folds, where this process has it: which rows an event touches, and what it makes of them.

import { RefoldError } from '../errors.ts'
import type { EventRow } from '../postgres/reads/events.ts'
import type { ProjectionRow } from '../postgres/reads/projections.ts'
import type { ColumnType, FoldProjection, PlainRow, Projection, TableDefinition } from '../projections/define.ts'
import { ProjectionEvent } from '../projections/event.ts'

/** The code that folds the live generation; RefoldError `operation-impossible` where this process has none. */
export function foldOf(folds: readonly Projection[], { name, live_generation: live, generations }: ProjectionRow): FoldProjection {
  const version = generations.find(({ generation }) => generation === live)?.version
  const mine = folds.find((one) => one.name === name)
  if (!mine || mine.version !== version)
    throw new RefoldError(
      'operation-impossible',
      `this API has no code of ${name} version ${version ?? 'none'}: start it with --app and the application that defines it`,
    )
  if (mine.how !== 'fold')
    throw new RefoldError('operation-impossible', `${name} writes its rows in SQL: only folds tell what an event changes`)
  return mine
}

export const tableOf = ({ tables: [table] }: FoldProjection): TableDefinition => {
  if (!table) throw new TypeError('a fold has one table')
  return table
}

/** An event of the audit as the fold sees it. */
export function foldEvent(row: EventRow): ProjectionEvent {
  const { seq, partition, log_offset: offset, appended_at: appendedAt, created_at: createdAt, ...rest } = row
  const { from_state: from, to_state: to, sent_from_state: sentFrom, sent_to_state: sentTo, ...event } = rest
  const sent = { from_state: sentFrom ?? from, to_state: sentTo ?? to }
  return new ProjectionEvent(
    { ...event, ...sent, created_at: Date.parse(createdAt), decision_chain: '', decision_seq: 0, decision_input: '' },
    { partition, offset: Number(offset), appendedAt: Date.parse(appendedAt) },
    { seq: Number(seq), from, to },
  )
}

/** A value of a key as rows show it; undefined for a text that is none of the type. */
function canonical(type: ColumnType | undefined, value: unknown): string | undefined {
  const text = String(value)
  switch (type) {
    case 'integer':
    case 'bigint':
    case 'double precision':
      return text.trim() === '' || Number.isNaN(Number(text)) ? undefined : String(Number(text))
    case 'boolean':
      return text === 'true' || text === 'false' ? text : undefined
    case 'timestamptz': {
      const ms = Date.parse(text)
      return Number.isNaN(ms) ? undefined : new Date(ms).toISOString()
    }
    case 'uuid':
      return text.toLowerCase()
    case 'text':
    case 'json':
    case undefined:
      return text
    default:
      return type satisfies never
  }
}

/** The values of a key, in order of the key's columns, as one text: equal for equal keys. */
export function keyText({ columns, key }: TableDefinition, row: PlainRow): string {
  return JSON.stringify(key.map((column) => canonical(columns[column], row[column]) ?? null))
}

/** Values of a key as they are asked for in SQL. */
export const keyValues = (text: string): readonly string[] => JSON.parse(text) as string[]

/** `<value>`, or `["<value>", …]` where the key has several columns: as `keyText` gives it, with the row that it names. */
export function askedKey(table: TableDefinition, asked: string): { text: string; key: PlainRow } {
  const { key, columns, name } = table
  const bad = (why: string) => new RefoldError('request-invalid', `key: ${why}; a row of ${name} is named by ${key.join(', ')}`)
  let values: unknown = [asked]
  if (key.length > 1) {
    try {
      values = JSON.parse(asked)
    } catch {
      throw bad('of several columns, give a JSON array of their values, URL-encoded')
    }
  }
  if (!Array.isArray(values) || values.length !== key.length) throw bad(`it has ${key.length} values`)
  const row: PlainRow = {}
  for (const [i, column] of key.entries()) {
    const type = columns[column]
    const value = canonical(type, values[i])
    if (value === undefined) throw bad(`${String(values[i])} is no ${type}`)
    row[column] =
      type === 'integer' || type === 'bigint' || type === 'double precision' ? Number(value) : type === 'boolean' ? value === 'true' : value
  }
  return { text: keyText(table, row), key: row }
}
