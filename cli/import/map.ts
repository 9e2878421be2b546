// file → read → [map] → lanes → POST /v1/events → verdicts → summary
//
// The map says which column of a file becomes which field of an event. It is data, not code: checked whole before the
// first row is read, so that a wrong name costs nothing.

import { z } from 'zod'
import { RefoldError } from '../../errors.ts'
import { named } from './near.ts'

const column = z.strictObject({ column: z.string().min(1) })
const template = z.strictObject({ template: z.string().min(1) })

/** A text: a constant, a column, or a template such as "{department}-{case_id}". */
const textSource = z.union([z.string().min(1), column, template], {
  error: 'expected a text, {"column": "…"} or {"template": "…{column}…"}',
})

const CELL_TYPES = ['text', 'number', 'boolean', 'json'] as const

/** A payload value: a constant, or a column read as a type. Numbers keep every digit. */
const valueSource = z.union(
  [z.string(), z.number(), z.boolean(), z.strictObject({ column: z.string().min(1), type: z.enum(CELL_TYPES).optional() }), template],
  { error: `expected a constant, {"column": "…", "type": "${CELL_TYPES.join('|')}"} or {"template": "…{column}…"}` },
)

const timeSource = z.strictObject({
  column: z.string().min(1),
  /** iso: 2011-10-11 13:45:40.276+02:00, space or T. */
  format: z.enum(['iso', 'epoch-ms', 'epoch-s']).default('iso'),
  /** The zone of times that name none: "Z" or an offset. */
  zone: z
    .string()
    .regex(/^(Z|[+-]\d\d:\d\d)$/, 'expected "Z" or an offset such as "+01:00"')
    .optional(),
})

const mapSchema = z
  .strictObject({
    /** Without it, the file's name decides: .ndjson and .jsonl, else CSV. */
    format: z.enum(['csv', 'ndjson']).optional(),
    csv: z.strictObject({ delimiter: z.string().min(1).optional(), quote: z.string().max(1).optional() }).optional(),
    /** Texts that stand for an empty cell, such as "NULL". */
    empty: z.array(z.string()).default([]),
    workflow_name: textSource.optional(),
    business_key: textSource.optional(),
    execution_id: textSource.optional(),
    event_name: textSource,
    event_type: textSource.optional(),
    from_state: textSource.optional(),
    to_state: textSource.optional(),
    user_id: textSource.optional(),
    created_at: timeSource,
    causation_id: textSource.optional(),
    correlation_id: textSource.optional(),
    /** Makes the event's id; without it, the row's digest and its occurrence do. */
    idempotency_key: textSource.optional(),
    payload: z
      .union([z.literal('others'), z.array(z.string().min(1)), z.record(z.string(), valueSource)], {
        error: 'expected "others", a list of columns, or an object of key → source',
      })
      .optional(),
  })
  .superRefine((map, context) => {
    const byKey = map.workflow_name !== undefined && map.business_key !== undefined
    if (byKey === (map.execution_id !== undefined))
      context.addIssue({
        code: 'custom',
        path: [byKey ? 'execution_id' : 'business_key'],
        message: 'expected either workflow_name and business_key, or execution_id',
      })
  })

export type ImportMap = z.infer<typeof mapSchema>
export type TextSource = z.infer<typeof textSource>
export type ValueSource = z.infer<typeof valueSource>
export type TimeSource = z.infer<typeof timeSource>

/** Fields of a map that are texts of the event. */
export const TEXT_FIELDS = [
  'workflow_name',
  'business_key',
  'execution_id',
  'event_name',
  'event_type',
  'from_state',
  'to_state',
  'user_id',
  'causation_id',
  'correlation_id',
  'idempotency_key',
] as const

type Issue = z.core.$ZodIssue

/** What is wrong and where. Of alternatives, the one that fits up to a deeper place is the one that was meant. */
function wordsOf(issue: Issue, above: readonly PropertyKey[] = []): string[] {
  const path = [...above, ...issue.path]
  const at = path.map(String).join('.')
  if (issue.code === 'invalid_union') {
    const meant = issue.errors.find((branch) => branch.some((inner) => inner.path.length > 0))
    if (meant) return meant.flatMap((inner) => wordsOf(inner, path))
  }
  if (issue.code !== 'unrecognized_keys') return [`${at === '' ? 'the map' : at}: ${issue.message}`]
  const known = at === '' ? Object.keys(mapSchema.shape) : []
  return issue.keys.map((key) => `${at === '' ? '' : `${at}: `}there is no key ${named(key, known)}`)
}

/** Reads a map's JSON text; `map-invalid` names each key that is wrong. */
export function parseMap(text: string): ImportMap {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new RefoldError('map-invalid', `it is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  const result = mapSchema.safeParse(value)
  if (!result.success) throw new RefoldError('map-invalid', result.error.issues.flatMap((issue) => wordsOf(issue)).join('; '))
  for (const { at, columns } of namedColumns(result.data))
    if (columns.length === 0) throw new RefoldError('map-invalid', `${at}: the template names no {column}; a plain text is a constant`)
  return result.data
}

/** Columns a template names, in order. */
export const templateColumns = (text: string): string[] => [...text.matchAll(/\{([^{}]+)\}/g)].map((match) => match[1]!)

function columnsOf(source: TextSource | ValueSource | TimeSource): string[] | undefined {
  if (typeof source !== 'object') return undefined
  return 'template' in source ? templateColumns(source.template) : [source.column]
}

/** Every place of the map that reads columns, with the columns it reads. */
export function namedColumns(map: ImportMap): { at: string; columns: string[] }[] {
  const places: [string, TextSource | ValueSource | TimeSource | undefined][] = [
    ...TEXT_FIELDS.map((field): [string, TextSource | undefined] => [field, map[field]]),
    ['created_at', map.created_at],
  ]
  if (Array.isArray(map.payload)) for (const [i, name] of map.payload.entries()) places.push([`payload.${i}`, { column: name }])
  else if (typeof map.payload === 'object') for (const [key, source] of Object.entries(map.payload)) places.push([`payload.${key}`, source])
  return places.flatMap(([at, source]) => {
    const columns = source === undefined ? undefined : columnsOf(source)
    return columns === undefined ? [] : [{ at, columns }]
  })
}

/** `map-invalid` for each column the map names and the file does not have. */
export function checkColumns(map: ImportMap, columns: readonly string[]): void {
  const known = new Set(columns)
  const faults = namedColumns(map).flatMap(({ at, columns: wanted }) =>
    wanted.filter((name) => !known.has(name)).map((name) => `${at}: the file has no column ${named(name, columns)}`),
  )
  if (faults.length > 0) throw new RefoldError('map-invalid', `${faults.join('; ')}; its columns are ${columns.join(', ')}`)
}
