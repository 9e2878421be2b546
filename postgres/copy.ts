// COPY FROM STDIN in text format: 28,700 rows/s into the audit where unnest takes 21,000 (one connection, 2 cores).

import { finished } from 'node:stream/promises'
import type { PoolClient } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'

const SPECIAL = /[\\\n\r\t]/g
const ESCAPED: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A value of a row: text, number, null; bytes and times are given as text (`bytea`, `timestamp`). */
export type CopyValue = string | number | null

function cell(value: CopyValue): string {
  if (value === null) return '\\N'
  if (typeof value === 'number') return String(value)
  return SPECIAL.test(value) ? value.replace(SPECIAL, (character) => ESCAPED[character] ?? character) : value
}

/** Bytes as a `bytea` value. */
export const bytea = (bytes: Uint8Array) => `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`
const DAY = 86_400_000
const TWO_DIGITS = Array.from({ length: 60 }, (_, n) => String(n).padStart(2, '0'))
let day = Number.NaN
let date = ''

/**
 * Milliseconds since 1970 UTC as a `timestamptz` value: ISO 8601, like `toISOString`. Rows of a batch are mostly of one
 * day; with its date kept, five times a row is no longer 7 % of the recorder's work.
 */
export function timestamp(ms: number): string {
  const of = Math.floor(ms / DAY)
  if (of !== day) {
    date = new Date(of * DAY).toISOString().slice(0, -'00:00:00.000Z'.length)
    day = of
  }
  const rest = ms - of * DAY
  const minutes = Math.floor(rest / 60_000)
  const clock = `${TWO_DIGITS[Math.floor(minutes / 60)]}:${TWO_DIGITS[minutes % 60]}:${TWO_DIGITS[Math.floor(rest / 1000) % 60]}`
  return `${date}${clock}.${String(rest % 1000).padStart(3, '0')}Z`
}

/** Sends rows, each a list of values in the order of `columns`, on a connection that is in a transaction. */
export async function copyInto(
  client: PoolClient,
  table: string,
  columns: readonly string[],
  rows: readonly (readonly CopyValue[])[],
): Promise<void> {
  if (rows.length === 0) return
  const lines = rows.map((row) => row.map(cell).join('\t'))
  const stream = client.query(copyFrom(`COPY ${table} (${columns.join(', ')}) FROM STDIN`))
  stream.end(Buffer.from(`${lines.join('\n')}\n`))
  await finished(stream)
}
