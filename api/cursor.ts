// Cursors of paged lists: opaque to clients, so that what is in them may change.

import type { z } from 'zod'
import { RefoldError } from '../errors.ts'

export const sealCursor = (place: object) => Buffer.from(JSON.stringify(place)).toString('base64url')

/** The place a cursor names; RefoldError `request-invalid` for anything that is not one of ours. */
export function openCursor<T>(cursor: string, shape: z.ZodType<T>): T {
  try {
    const text = Buffer.from(cursor, 'base64url').toString()
    if (text.includes(String.raw`\u0000`)) throw new Error('it holds a NUL')
    return shape.parse(JSON.parse(text))
  } catch (cause) {
    throw new RefoldError('request-invalid', 'cursor: is not one that this API gave', { cause })
  }
}
