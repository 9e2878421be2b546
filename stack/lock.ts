// One at a time, across processes: a file that names its holder.

import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { markOf } from './process.ts'

/** Runs `work` while no other process holds `file`. A holder that died is passed over. `waiting` is called once if it must wait. */
export async function alone<T>(file: string, waiting: () => void, work: () => Promise<T>): Promise<T> {
  mkdirSync(path.dirname(file), { recursive: true })
  for (let told = false; !take(file);) {
    if (abandoned(file)) passOver(file)
    else if (!told) {
      told = true
      waiting()
    }
    await delay(100)
  }
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}

/**
 * Removes the lock of a holder that died. Looked at again under a lock of its own, since another that waits may have
 * removed it and taken the place meanwhile.
 */
function passOver(file: string): void {
  const passing = `${file}.passing`
  if (take(passing)) {
    if (abandoned(file)) rmSync(file, { force: true })
    rmSync(passing, { force: true })
  } else if (abandoned(passing)) rmSync(passing, { force: true })
}

function take(file: string): boolean {
  try {
    writeFileSync(file, `${process.pid} ${markOf(process.pid)}`, { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function abandoned(file: string): boolean {
  if (!existsSync(file)) return false
  try {
    const [pid, mark] = readFileSync(file, 'utf8').split(' ')
    // Made but not yet written: its maker is between two lines, unless that was long ago.
    if (!pid) return Date.now() - statSync(file).mtimeMs > 5000
    return markOf(Number(pid)) !== mark
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
