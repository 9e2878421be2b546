// What did not get in: one JSON line each, with the line of the file it came from.

import { createWriteStream, type WriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { finished } from 'node:stream/promises'
import { asError, RefoldError } from '../../errors.ts'

export type RefusedRow = {
  /** Line of the file on which the row begins, from 1. */
  line: number
  /** `unmapped` and `unreadable` rows were never sent; the others are the server's answers. */
  outcome: 'unreadable' | 'unmapped' | 'refused' | 'conflict' | 'late' | 'early' | 'quarantined'
  reason: string
  /** The row as read, or as sent. */
  row?: unknown
}

export type RefusedFile = {
  write(row: RefusedRow): void
  /** Resolves when all is on disk; the path, if there was anything to write. */
  close(): Promise<string | undefined>
}

/** Removes what an earlier import left there; the file is made with the first row. */
export async function createRefusedFile(path: string): Promise<RefusedFile> {
  await rm(path, { force: true })
  let stream: WriteStream | undefined
  let failure: Error | undefined
  const open = () =>
    createWriteStream(path).on('error', (error) => {
      failure ??= error
    })
  const check = () => {
    if (failure)
      throw new RefoldError('import-failed', `${path} can't be written (${failure.message}); name another with --refused`, {
        cause: failure,
      })
  }
  return {
    write(row) {
      check()
      stream ??= open()
      stream.write(`${JSON.stringify(row)}\n`)
    },
    async close() {
      if (stream === undefined) return undefined
      stream.end()
      await finished(stream).catch((error: unknown) => {
        failure ??= asError(error)
      })
      check()
      return path
    },
  }
}
