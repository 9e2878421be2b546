// A writer's schema, by its text, as avsc may be given it: only what decides how its bytes are read.

import avro, { type Type } from 'avsc'

/** UTF-16 units of a schema's text; ours has about 1,300. */
const MAX_TEXT = 256 * 1024
/** Levels of its JSON. */
const MAX_DEPTH = 64

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** avsc keeps fields in plain objects: one named `valueOf` would be mistaken for an inherited member and not be skipped. */
const safeFieldName = (name: string) => (name in Object.prototype ? `${name}_of_writer` : name)

function pruneField(field: Json, depth: number): Json {
  if (!isObject(field) || typeof field['name'] !== 'string') throw new Error('a field has no name')
  return { name: safeFieldName(field['name']), type: prune(field['type'], depth) }
}

/**
 * A schema without what reading doesn't need: docs, orders, aliases, logical types, and defaults (avsc expands them when it
 * parses, and defaults within defaults double with each level).
 */
function prune(schema: Json | undefined, depth: number): Json {
  if (depth > MAX_DEPTH) throw new Error(`it is nested more than ${MAX_DEPTH} levels deep`)
  if (typeof schema === 'string') return schema
  if (Array.isArray(schema)) return schema.map((branch) => prune(branch, depth + 1))
  if (!isObject(schema)) throw new Error('a type is neither a name, a list nor an object')
  const kept: { [key: string]: Json } = {}
  for (const key of ['name', 'namespace', 'symbols', 'size']) if (schema[key] !== undefined) kept[key] = schema[key]
  for (const key of ['type', 'items', 'values']) if (schema[key] !== undefined) kept[key] = prune(schema[key], depth + 1)
  if (Array.isArray(schema['fields'])) kept['fields'] = schema['fields'].map((field) => pruneField(field, depth + 1))
  return kept
}

/** Parses a writer's schema; throws an Error that says why it can't be one. */
export function parseWriterSchema(text: string): Type {
  if (text.length > MAX_TEXT) throw new Error(`it has ${text.length} characters, at most ${MAX_TEXT}`)
  return avro.Type.forSchema(prune(JSON.parse(text) as Json, 0) as Parameters<typeof avro.Type.forSchema>[0], { omitRecordMethods: true })
}
