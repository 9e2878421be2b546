// A server's process: started away from the terminal, recognised later, ended.

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { RefoldError } from '../errors.ts'

/** When a process began, in the system's own words: a later process with the same pid has another. */
export type ProcessMark = string

export type Launch = {
  command: string
  args: readonly string[]
  log: string
  cwd: string
  env?: Readonly<Record<string, string>>
  /** Only root may give one. */
  user?: { uid: number; gid: number }
}

export type Launched = { pid: number; mark: ProcessMark; log: string }

/** Starts a process in a session of its own, so that neither Ctrl-C nor a closed terminal ends it. */
export async function launch({ command, args, log, cwd, env, user }: Launch): Promise<Launched> {
  mkdirSync(path.dirname(log), { recursive: true })
  const out = openSync(log, 'a')
  try {
    const child = spawn(command, [...args], {
      cwd,
      detached: true,
      stdio: ['ignore', out, out],
      env: { ...process.env, ...env },
      ...user,
    })
    const pid = await new Promise<number>((resolve, reject) => {
      child.once('spawn', () => resolve(child.pid!))
      child.once('error', reject)
    })
    child.unref()
    const mark = markOf(pid)
    if (mark === null) throw new Error(`${command} ended at once`)
    return { pid, mark, log }
  } catch (cause) {
    throw new RefoldError('stack-failed', `${path.basename(command)} could not be run`, { cause })
  } finally {
    closeSync(out)
  }
}

/** The mark of a running process, or null when none runs under this pid (a zombie doesn't). */
export function markOf(pid: number): ProcessMark | null {
  if (existsSync('/proc/self/stat')) {
    const file = `/proc/${pid}/stat`
    if (!existsSync(file)) return null
    let stat: string
    try {
      stat = readFileSync(file, 'utf8')
    } catch {
      return null // it ended between the two lines
    }
    // The second field, the name, may hold spaces and brackets; the third is the state, the 22nd the start in clock ticks.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : `${fields[19]}`
  }
  const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : null
}

/** True while the process we started still runs; false once it ended, also when its pid is somebody else's now. */
export function runs({ pid, mark }: { pid: number; mark: ProcessMark }): boolean {
  return markOf(pid) === mark
}

/** Asks a process to end; after `patience` milliseconds it is killed. Resolves once it is gone. */
export async function end(server: { pid: number; mark: ProcessMark }, signal: NodeJS.Signals, patience: number): Promise<void> {
  if (!runs(server)) return
  process.kill(server.pid, signal)
  const deadline = performance.now() + patience
  while (runs(server)) {
    if (performance.now() > deadline) {
      process.kill(server.pid, 'SIGKILL')
      // Gone for good in a moment; the kernel may need some time to take a large process apart.
      while (runs(server)) await delay(20)
      return
    }
    await delay(50)
  }
}

/** The last lines of a log, for a message about a server that did not start. */
export function lastLines(log: string, count: number): string {
  if (!existsSync(log)) return ''
  const size = statSync(log).size
  const text = readFileSync(log, 'utf8').slice(-Math.min(size, 20_000))
  return text.trimEnd().split('\n').slice(-count).join('\n')
}
