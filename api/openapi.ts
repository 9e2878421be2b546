// /openapi.json: what the routes' schemas do not say by themselves.

import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'

const info = {
  title: 'Refold',
  version: '1',
  description:
    'Events in, states out. Writes answer `Refold-Position`; reads carry `Refold-Watermark` (recorder checkpoint of the partitions ' +
    'read) and `Refold-Lag`. Errors are RFC 9457 problems, their types in docs/errors.md; conventions in docs/rest.md.',
}

const REF = /"\$ref":"#\/components\/schemas\/([^"]+)"/g

type Schemas = Readonly<Record<string, unknown>>

/** Names of the schemas that `part` of the document needs, directly or through others. */
function needed(part: unknown, schemas: Schemas, known: Set<string> = new Set()): Set<string> {
  for (const [, name = ''] of (JSON.stringify(part) ?? '').matchAll(REF)) {
    if (known.has(name)) continue
    known.add(name)
    needed(schemas[name], schemas, known)
  }
  return known
}

/** Each shape comes as it is sent and as it is received; those that no route uses are left out. */
const transformObject: typeof jsonSchemaTransformObject = (document) => {
  const whole = jsonSchemaTransformObject(document)
  if (!('components' in whole) || !whole.components?.schemas) return whole
  const { schemas } = whole.components
  const used = needed(whole.paths, schemas)
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)))
  return { ...whole, components: { ...whole.components, schemas: kept } } as typeof whole
}

/** Options of @fastify/swagger. */
export const OPENAPI = {
  openapi: {
    openapi: '3.1.0',
    info,
    components: { securitySchemes: { token: { type: 'http' as const, scheme: 'bearer' } } },
    security: [{ token: [] }],
  },
  transform: jsonSchemaTransform,
  transformObject,
}
