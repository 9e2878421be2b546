// `dev test`: stack → tap → the stack as it was found, unless others use it meanwhile.

import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { asError } from '../../errors.ts'
import { ROOT, runTool } from './run.ts'

const say = (line: string) => process.stderr.write(`${line}\n`)

/** The raw TAP of the last run; its closing comment has the counts. */
const RESULTS = path.join(ROOT, '.refold', 'test.tap')

/** Runs tap over `args` (files, options of tap), or over everything. */
export async function test(args: readonly string[], withStack: boolean): Promise<number> {
  const built = await buildTap()
  if (built !== 0) return built
  const leave = withStack ? await startStack() : undefined
  try {
    mkdirSync(path.dirname(RESULTS), { recursive: true })
    rmSync(RESULTS, { force: true })
    // With its reporter `tap`, tap writes everything twice when it has an --output-file, so there the copy is made here.
    const run = ['run', ...args.flatMap(filesOf)]
    const code = process.env['CI']
      ? await runTool('tap', [...run, '--reporter=tap'], RESULTS)
      : await runTool('tap', [`--reporter=${process.stdout.isTTY ? 'base' : 'terse'}`, ...run, `--output-file=${RESULTS}`])
    const counts = readCounts()
    if (counts) say(`tests: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
    return code
  } finally {
    await leave?.()
  }
}

/** A folder stands for the tests in it. */
function filesOf(argument: string): string[] {
  const folder = path.join(ROOT, argument)
  const isFolder = !argument.startsWith('-') && statSync(folder, { throwIfNoEntry: false })?.isDirectory()
  return isFolder ? globSync(path.join(folder, '**', '*.test.ts')) : [argument]
}

/** tap compiles its own plugins once for each install and each set of plugins. */
async function buildTap(): Promise<number> {
  const marker = path.join(ROOT, 'node_modules', '.refold-tap')
  const wanted = createHash('sha256')
    .update(readFileSync(path.join(ROOT, '.taprc')))
    .digest('hex')
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return 0
  say('tap: building its plugins, once after each install')
  const code = await runTool('tap', ['build'])
  if (code === 0) writeFileSync(marker, wanted)
  return code
}

/** Gives how to leave it: that ends what was started for test runs and demos, if this is the last of them. */
async function startStack(): Promise<() => Promise<void>> {
  const [{ up, use }, { stackFolder }] = await Promise.all([import('../../stack/stack.ts'), import('../../stack/state.ts')])
  const leave = await use(stackFolder(), say)
  try {
    await up({ folder: stackFolder(), say, env: process.env, lent: true })
  } catch (error) {
    if (process.env['REFOLD_REQUIRE'] === 'all') {
      await leave()
      throw error
    }
    say(`${asError(error).message}\nTests that need the missing servers will be skipped.`)
  }
  return leave
}

/** tap's own totals: `# { total: 10, pass: 8, fail: 1, skip: 1 }`, numbers that are 0 left out. */
function readCounts(): { passed: number; failed: number; skipped: number } | null {
  const text = existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : ''
  const totals = /^# \{ (total: .*) \}$/m.exec(text)?.[1]
  if (!totals) return null
  const of = (name: string) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0)
  return { passed: of('pass'), failed: of('fail'), skipped: of('skip') }
}
