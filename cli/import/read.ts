// file → [read] → map → lanes → POST /v1/events → verdicts → summary
//
// Rows of a CSV or NDJSON file, plain or gzip, one at a time: memory does not grow with the file.

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { parse } from 'csv-parse'
import { asError, RefoldError } from '../../errors.ts'
import { isJsonObject, parseJsonVerbatim } from '../../workflow/json.ts'
import type { Cells } from './item.ts'
import { checkColumns, type ImportMap, namedColumns } from './map.ts'
import { named } from './near.ts'

/** A row and the line it begins on; one that can't be read as a row has a fault and, if short, its text. */
export type Row = { line: number; cells: Cells } | { line: number; fault: string; text?: string }

export type Source = {
  rows: AsyncIterable<Row>
  /** Bytes of the file read so far, and all of them. */
  bytes(): { read: number; total: number }
  /** What the map names and no row had, once all rows are read (NDJSON; a CSV header is checked at once). */
  unseen(): string[]
}

/** One row may be this large; more means a quote that is never closed, or a file that isn't what the map says. */
const ROW_LIMIT = 16 * 1024 * 1024
const SHOWN = 2000

const unreadable = (detail: string, cause?: unknown) => new RefoldError('import-unreadable', detail, { cause })

function formatOf(path: string, map: ImportMap): 'csv' | 'ndjson' {
  return map.format ?? (/\.(ndjson|jsonl)(\.gz)?$/i.test(path) ? 'ndjson' : 'csv')
}

function quoteOf(map: ImportMap): string | false {
  const quote = map.csv?.quote ?? '"'
  return quote === '' ? false : quote
}

function csvParser(map: ImportMap) {
  return parse({
    bom: true,
    info: true,
    delimiter: map.csv?.delimiter ?? ',',
    quote: quoteOf(map),
    // Both, since files are glued together from both; by default the first row decides.
    record_delimiter: ['\r\n', '\n'],
    // Rows of another length are refused one by one, below, instead of ending the file.
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: ROW_LIMIT,
  })
}

const breaksIn = (record: readonly string[]) => record.reduce((sum, cell) => sum + (cell.match(/\n/g)?.length ?? 0), 0)

function headerOf(record: readonly string[], map: ImportMap): readonly string[] {
  const twice = record.find((name, i) => record.indexOf(name) !== i)
  if (twice !== undefined) throw unreadable(`two columns are named "${twice}"`)
  checkColumns(map, record)
  return record
}

async function* csvRows(bytes: Readable, map: ImportMap): AsyncGenerator<Row> {
  const parser = csvParser(map)
  // A broken stream destroys the parser, so the loop below throws it; the promise would throw it a second time. It is not waited for: of
  // a parser that has all bytes and is left before its last row, it never resolves.
  pipeline(bytes, parser).catch(() => undefined)
  let header: readonly string[] | undefined
  let line = 0
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      line = info.lines - breaksIn(record)
      if (header === undefined) header = headerOf(record, map)
      else if (record.length === header.length) yield { line, cells: Object.fromEntries(header.map((name, i) => [name, record[i]])) }
      else yield { line, fault: `${record.length} columns instead of ${header.length}`, text: record.join(',').slice(0, SHOWN) }
    }
  } catch (error) {
    if (error instanceof RefoldError) throw error
    throw unreadable(`after line ${line}: ${asError(error).message}`, error)
  } finally {
    bytes.destroy()
    parser.destroy()
  }
  if (header === undefined) throw unreadable('it is empty: not even a header')
}

async function* linesOf(bytes: Readable): AsyncGenerator<{ line: number; text: string }> {
  let line = 0
  let rest = ''
  for await (const chunk of bytes.setEncoding('utf8') as AsyncIterable<string>) {
    const pieces = (rest + chunk).split('\n')
    rest = pieces.pop()!
    if (rest.length > ROW_LIMIT) throw unreadable(`line ${line + pieces.length + 1} is longer than ${ROW_LIMIT} characters`)
    for (const text of pieces) yield { line: ++line, text }
  }
  if (rest !== '') yield { line: ++line, text: rest }
}

function ndjsonRow(line: number, text: string): Row {
  try {
    const value = parseJsonVerbatim(text)
    if (isJsonObject(value)) return { line, cells: value }
    return { line, fault: 'not a JSON object', text: text.slice(0, SHOWN) }
  } catch (error) {
    return { line, fault: `not JSON: ${asError(error).message}`, text: text.slice(0, SHOWN) }
  }
}

/** `columns` and `unseen` are filled as rows pass: the first row's names, and what the map names and no row had. */
async function* ndjsonRows(bytes: Readable, columns: string[], unseen: Set<string>): AsyncGenerator<Row> {
  try {
    for await (const { line, text } of linesOf(bytes)) {
      const trimmed = (line === 1 ? text.replace(/^\uFEFF/, '') : text).trim()
      if (trimmed === '') continue
      const row = ndjsonRow(line, trimmed)
      if ('cells' in row) {
        if (columns.length === 0) columns.push(...Object.keys(row.cells))
        for (const name of unseen) if (name in row.cells) unseen.delete(name)
      }
      yield row
    }
  } catch (error) {
    throw error instanceof RefoldError ? error : unreadable(asError(error).message, error)
  }
}

/** `consumed` counts bytes of the file behind what came out of `bytes`; a file stream's own count runs a buffer ahead. */
async function open(path: string): Promise<{ consumed: () => number; bytes: Readable; total: number }> {
  const total = await stat(path).then(
    (found) => found.size,
    (cause: unknown) => {
      throw new RefoldError('usage', `the file ${path} can't be read: ${asError(cause).message}`, { cause })
    },
  )
  const file = createReadStream(path)
  const gunzip = path.endsWith('.gz') ? createGunzip() : undefined
  const bytes = gunzip ?? new PassThrough()
  // Errors of the file or of gzip come out where `bytes` is read.
  void pipeline(file, bytes).catch((error: unknown) => bytes.destroy(asError(error)))
  return { consumed: () => gunzip?.bytesWritten ?? file.bytesRead - bytes.readableLength, bytes, total }
}

/** Opens a file; its header, if it has one, is checked against the map when the first row is asked for. */
export async function openSource(path: string, map: ImportMap): Promise<Source> {
  const { consumed, bytes, total } = await open(path)
  const unseen = new Set(namedColumns(map).flatMap((place) => place.columns))
  const columns: string[] = []
  const csv = formatOf(path, map) === 'csv'
  return {
    rows: csv ? csvRows(bytes, map) : ndjsonRows(bytes, columns, unseen),
    bytes: () => ({ read: consumed(), total }),
    unseen: () => (csv ? [] : [...unseen].map((name) => named(name, columns))),
  }
}
