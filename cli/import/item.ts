// file → read → [map: row → item] → lanes → POST /v1/events → verdicts → summary
//
// One row becomes one item of POST /v1/events. The same row gives the same bytes every time: its content is compared
// when it is imported again.

import { hash } from 'node:crypto'
import { parseJsonVerbatim } from '../../workflow/json.ts'
import { type ImportMap, namedColumns, TEXT_FIELDS, type TextSource, type ValueSource } from './map.ts'
import { readTime } from './time.ts'

/** A row's cells. CSV gives texts; NDJSON gives JSON values, numbers as raw JSON where digits would be lost. */
export type Cells = Readonly<Record<string, unknown>>

/** What is sent for a row: its JSON text, and the execution it belongs to (rows of one execution stay in order). */
export type Item = { json: string; execution: string }
export type Mapped = Item | { fault: string }
export type RowMapper = (cells: Cells) => Mapped

/** Thrown and caught here only: a row that can't be mapped. */
class RowFault extends Error {}

const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/

/** A cell as text; '' is absent. */
function textOf(cell: unknown): string {
  if (typeof cell === 'string') return cell
  if (cell === undefined || cell === null) return ''
  return JSON.stringify(cell)
}

function filled(template: string, cells: Cells): string {
  return template.replace(/\{([^{}]+)\}/g, (_, name: string) => {
    const cell = textOf(cells[name])
    if (cell === '') throw new RowFault(`column "${name}" is empty, and a template needs it`)
    return cell
  })
}

function readText(source: TextSource, cells: Cells): string {
  if (typeof source === 'string') return source
  return 'template' in source ? filled(source.template, cells) : textOf(cells[source.column])
}

function typed(cell: unknown, type: 'text' | 'number' | 'boolean' | 'json', name: string): unknown {
  const text = textOf(cell)
  switch (type) {
    case 'text':
      return text
    case 'number':
      if (!JSON_NUMBER.test(text)) throw new RowFault(`column "${name}": "${text}" is not a number`)
      return JSON.rawJSON(text)
    case 'boolean':
      if (!/^(true|false)$/i.test(text)) throw new RowFault(`column "${name}": "${text}" is not true or false`)
      return text.toLowerCase() === 'true'
    case 'json':
      try {
        return parseJsonVerbatim(text)
      } catch {
        throw new RowFault(`column "${name}" is not JSON`)
      }
    default:
      return type satisfies never
  }
}

/** A payload value; undefined where its cell is empty. */
function readValue(source: ValueSource, cells: Cells): unknown {
  if (typeof source !== 'object') return source
  if ('template' in source) return filled(source.template, cells)
  const cell = cells[source.column]
  if (cell === undefined || cell === null || cell === '') return undefined
  return source.type === undefined ? cell : typed(cell, source.type, source.column)
}

function payloadReader(map: ImportMap): (cells: Cells) => Record<string, unknown> {
  const { payload = {} } = map
  if (payload === 'others') {
    const taken = new Set(namedColumns(map).flatMap(({ columns }) => columns))
    // Sorted: a file with its columns in another order must give the same content.
    return (cells) =>
      Object.fromEntries(
        Object.keys(cells)
          .filter((name) => !taken.has(name) && cells[name] !== '' && cells[name] !== null)
          .toSorted()
          .map((name) => [name, cells[name]]),
      )
  }
  const sources: [string, ValueSource][] = Array.isArray(payload)
    ? payload.map((name) => [name, { column: name }])
    : Object.entries(payload)
  return (cells) => Object.fromEntries(sources.map(([key, source]) => [key, readValue(source, cells)]))
}

/**
 * Ids for rows without a key of their own: the row's digest, and which occurrence of that digest in the file it is. Keeps
 * some 100 bytes a row in memory; large files should map `idempotency_key`.
 */
export function createRowKeys(): (cells: Cells) => string {
  const seen = new Map<string, number>()
  return (cells) => {
    const sorted = Object.keys(cells)
      .toSorted()
      .map((name) => [name, cells[name]])
    const digest = hash('sha256', JSON.stringify(sorted), 'base64url').slice(0, 24)
    const occurrence = (seen.get(digest) ?? 0) + 1
    seen.set(digest, occurrence)
    return `row:${digest}:${occurrence}`
  }
}

const OPTIONAL: ReadonlySet<string> = new Set(['event_type', 'from_state', 'to_state', 'user_id', 'causation_id', 'correlation_id'])

function textsOf(map: ImportMap, cells: Cells): Record<string, string> {
  const texts: Record<string, string> = {}
  for (const field of TEXT_FIELDS) {
    const source = map[field]
    if (source === undefined) continue
    const text = readText(source, cells)
    if (text !== '') texts[field] = text
    else if (!OPTIONAL.has(field)) throw new RowFault(`${field} is empty`)
  }
  return texts
}

function withoutEmpties(cells: Cells, empty: ReadonlySet<unknown>): Cells {
  return Object.fromEntries(Object.entries(cells).map(([name, cell]) => [name, empty.has(cell) ? '' : cell]))
}

/** The function that maps rows. It keeps the occurrence counts, so one mapper serves one file, from its first row. */
export function createMapper(map: ImportMap): RowMapper {
  const readPayload = payloadReader(map)
  const rowKey = map.idempotency_key === undefined ? createRowKeys() : undefined
  const empty = new Set<unknown>(map.empty)

  const toItem = (row: Cells): Item => {
    const cells = empty.size === 0 ? row : withoutEmpties(row, empty)
    const texts = textsOf(map, cells)
    const time = readTime(textOf(cells[map.created_at.column]), map.created_at)
    if ('fault' in time) throw new RowFault(`created_at: ${time.fault}`)
    const key = rowKey ? { idempotency_key: rowKey(row) } : {}
    const payload = readPayload(cells)
    const item = { ...texts, ...key, created_at: time.ms, ...(map.payload === undefined ? {} : { payload }) }
    return { json: JSON.stringify(item), execution: texts['execution_id'] ?? `${texts['workflow_name']}\0${texts['business_key']}` }
  }

  return (row) => {
    try {
      return toItem(row)
    } catch (error) {
      if (error instanceof RowFault) return { fault: error.message }
      throw error
    }
  }
}
