// Running the tools of this package, from its own folder.

import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'

export const ROOT = path.join(import.meta.dirname, '..', '..')

/**
 * Runs a tool of node_modules/.bin (or, for a `.ts` file, Node itself) to its end; gives its exit code. With `copy` what
 * it writes to stdout goes into that file as well.
 */
export function runTool(tool: string, args: readonly string[], copy?: string): Promise<number> {
  const [command, ...first] = tool.endsWith('.ts')
    ? [process.execPath, '--disable-warning=TimeoutNegativeWarning', path.join(ROOT, tool)]
    : [path.join(ROOT, 'node_modules', '.bin', tool)]
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...first, ...args], { cwd: ROOT, stdio: ['inherit', copy ? 'pipe' : 'inherit', 'inherit'] })
    child.stdout?.pipe(process.stdout, { end: false })
    const written = copy && child.stdout ? pipeline(child.stdout, createWriteStream(copy)) : Promise.resolve()
    // A signal reaches the tool too; it ends, and so do we, after what must be put in order.
    const forward = (signal: NodeJS.Signals) => child.kill(signal)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, forward)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, forward)
      const exitCode = code ?? 128 + (signal ? os.constants.signals[signal] : 0)
      written.then(() => resolve(exitCode), reject)
    })
  })
}
