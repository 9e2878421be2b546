// Python for tests of foreign clients: one virtual environment under .refold/, made from PyPI by the first test that needs it.

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { asError } from '../../errors.ts'
import { alone } from '../../stack/lock.ts'
import { stackFolder } from '../../stack/state.ts'

const SCRIPTS = path.join(import.meta.dirname, 'python')

export type Python = {
  /** The environment's python. */
  interpreter: string
  /** Runs a script of test/support/python/ with `lines` as JSON on its input; gives the JSON lines it printed. */
  run(script: string, args: readonly string[], lines: readonly unknown[]): Promise<unknown[]>
}

/** Runs a program to its end; rejects with what it said on stderr when it fails. */
function output(command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'pipe' })
    let out = ''
    let err = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve(out) : reject(new Error(`${command} ${args.join(' ')} ended with ${code}: ${err}`)),
    )
    // A program that ends before it has read everything says why on stderr, or needed no more of it.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

/** The environment's interpreter; the folder is complete once its marker is there. */
async function environment(): Promise<string> {
  const requirements = path.join(SCRIPTS, 'requirements.txt')
  const version = await output('python3', ['--version'])
  const digest = createHash('sha256')
    .update(version)
    .update(await readFile(requirements))
    .digest('hex')
  const folder = path.join(stackFolder(), `python-${digest.slice(0, 12)}`)
  const python = path.join(folder, 'bin', 'python')
  const marker = path.join(folder, 'complete')
  await alone(
    `${folder}.lock`,
    () => undefined,
    async () => {
      if (existsSync(marker)) return
      await rm(folder, { recursive: true, force: true })
      await output('python3', ['-m', 'venv', folder])
      await output(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements])
      await writeFile(marker, '')
    },
  )
  return python
}

/** Python with the packages of requirements.txt; installs them first where they aren't there. */
export async function openPython(): Promise<Python> {
  const python = await environment()
  return {
    interpreter: python,
    async run(script, args, lines) {
      const text = await output(python, [path.join(SCRIPTS, script), ...args], lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
      return text.split('\n').flatMap((line): unknown[] => (line === '' ? [] : [JSON.parse(line)]))
    },
  }
}

/** Longest that making the environment may take, in ms: the packages are 5 MB. */
const INSTALL = 240_000

/** Python for a test; without it the test is skipped (return then), or fails with REFOLD_REQUIRE=all. */
export async function usePython(t: Test): Promise<Python | undefined> {
  t.setTimeout(INSTALL)
  try {
    return await openPython()
  } catch (error) {
    const reason = `needs python3 with venv and pip: ${asError(error).message}`
    if (process.env['REFOLD_REQUIRE'] === 'all') t.fail(reason)
    else t.plan(0, reason)
    return undefined
  }
}
