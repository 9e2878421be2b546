// The APIs that run from this clone, each a file below the stack's folder: how its commands find one without being told.

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { z } from 'zod'

const shape = z.object({ url: z.string(), pid: z.int().positive(), startedAt: z.string() })
type Announced = z.infer<typeof shape>

const folderIn = (folder: string) => path.join(folder, 'apis')

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

function read(file: string): Announced | undefined {
  try {
    return shape.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return undefined
  }
}

let announcements = 0

/** Tells the commands of this clone where the API listens, until what it returns is called. */
export function announceApi(folder: string, url: string): () => void {
  const all = folderIn(folder)
  mkdirSync(all, { recursive: true })
  const file = path.join(all, `${process.pid}-${++announcements}.json`)
  writeFileSync(`${file}.new`, `${JSON.stringify({ url, pid: process.pid, startedAt: new Date().toISOString() } satisfies Announced)}\n`)
  renameSync(`${file}.new`, file)
  return () => rmSync(file, { force: true })
}

/** Address of the API that was started last and runs. Those that ended without saying so are forgotten. */
export function announcedApi(folder: string): string | undefined {
  const all = folderIn(folder)
  let newest: Announced | undefined
  for (const name of namesIn(all)) {
    const one = read(path.join(all, name))
    if (!one || !isAlive(one.pid)) rmSync(path.join(all, name), { force: true })
    else if (!newest || one.startedAt >= newest.startedAt) newest = one
  }
  return newest?.url
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .toSorted()
  } catch {
    return []
  }
}
