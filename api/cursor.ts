// Cursors of paged lists: opaque to clients, so that what is in them may change.

import type { z } from 'zod'
import { RefoldError } from '../errors.ts'

export const sealCursor = (place: object) => Buffer.from(JSON.stringify(place)).toString('base64url')

/** Postgres' text takes no NUL. Looked for in values, since in JSON text `\\u0000` is a backslash and five letters. */
function refuseNul(_key: string, value: unknown): unknown {
  if (typeof value === 'string' && value.includes('\0')) throw new Error('it holds a NUL')
  return value
}

/** The place a cursor names; RefoldError `request-invalid` for anything that is not one of ours. */
export function openCursor<T>(cursor: string, shape: z.ZodType<T>): T {
  try {
    return shape.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString(), refuseNul))
  } catch (cause) {
    throw new RefoldError('request-invalid', 'cursor: is not one that this API gave', { cause })
  }
}
