// Which permit log there is: the real one where REFOLD_DATA names it, else one that is generated.

import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { RefoldError } from '../../errors.ts'
import { DEFAULT_SEED, generateFile } from './generate.ts'

export const MAP_FILE = join(import.meta.dirname, 'map.json')

export type DataFile = { path: string; generated: boolean }

/** `folder` keeps the generated file; it is made once. */
export async function dataFile(env: Readonly<Record<string, string | undefined>>, folder = '.refold'): Promise<DataFile> {
  const given = env['REFOLD_DATA']
  if (given !== undefined && given !== '') {
    if (!existsSync(given)) throw new RefoldError('config-invalid', `REFOLD_DATA names ${given}, which is not there`)
    return { path: given, generated: false }
  }
  const path = join(folder, `permit-events-${DEFAULT_SEED}.csv.gz`)
  if (existsSync(path)) return { path, generated: true }
  await mkdir(folder, { recursive: true })
  // Several may come here at once: each writes its own file, and a whole one takes the name.
  const own = `${path}.${randomUUID()}`
  try {
    await generateFile(own)
    await rename(own, path)
  } finally {
    await rm(own, { force: true })
  }
  return { path, generated: true }
}
