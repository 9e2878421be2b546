import { createHash } from 'node:crypto'
import type { LogRecord } from '../kafka/log.ts'

/** SHA-256 of a record's key and value, each preceded by its length: tells two logs apart at one position. */
export function recordDigest({ key, value }: Pick<LogRecord, 'key' | 'value'>): Buffer {
  const hash = createHash('sha256')
  for (const part of [key, value]) {
    const length = Buffer.alloc(4)
    length.writeInt32BE(part?.length ?? -1)
    hash.update(length)
    if (part) hash.update(part)
  }
  return hash.digest()
}
