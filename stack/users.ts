// Who uses a stack: a file for each in `.refold/users`, which counts as long as its process lives, however that ends.

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { markOf } from './process.ts'

const folderIn = (folder: string) => path.join(folder, 'users')

let entered = 0

/** Counts this process among the users until what it gives is called. */
export function enter(folder: string): () => void {
  const all = folderIn(folder)
  mkdirSync(all, { recursive: true })
  const file = path.join(all, `${process.pid}-${++entered}`)
  // Beside it first: one that is half written would count for dead.
  const beside = `${file}.part`
  writeFileSync(beside, `${process.pid} ${markOf(process.pid)}`)
  renameSync(beside, file)
  return () => rmSync(file, { force: true })
}

/** The processes that use the stack now. Those that died are forgotten. */
export function usersOf(folder: string): number[] {
  const all = folderIn(folder)
  mkdirSync(all, { recursive: true })
  const files = readdirSync(all).filter((name) => !name.endsWith('.part'))
  return files.flatMap((name) => {
    const pid = Number(name.split('-')[0])
    if (isOf(pid, path.join(all, name))) return [pid]
    rmSync(path.join(all, name), { force: true })
    return []
  })
}

function isOf(pid: number, file: string): boolean {
  try {
    return readFileSync(file, 'utf8') === `${pid} ${markOf(pid)}`
  } catch {
    return false // it left between the two lines
  }
}
