// `dev verify`: everything CI checks, cheapest first; stops at the first failure.

import { runTool } from './run.ts'
import { test } from './test.ts'

/** Scripts that write files from others; each takes --check. */
const GENERATORS = ['schemas/generate.ts', 'docs/generate.ts']

const STEPS: readonly { name: string; run: () => Promise<number> }[] = [
  { name: 'format', run: () => runTool('oxfmt', ['--check', '.']) },
  { name: 'types', run: () => runTool('tsc', ['-p', '.']) },
  { name: 'lint', run: () => runTool('oxlint', ['--type-aware', '.']) },
  { name: 'generated files', run: () => inTurn(GENERATORS.map((file) => () => runTool(file, ['--check']))) },
  { name: 'unused files, exports and dependencies', run: () => runTool('knip', []) },
  { name: 'tests', run: () => test([], true) },
]

export async function verify(): Promise<number> {
  for (const { name, run } of STEPS) {
    console.error(`── ${name}`)
    const begun = performance.now()
    const code = await run()
    const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`
    console.error(`── ${name}: ${code === 0 ? 'good' : `failed (exit code ${code})`}, ${took}\n`)
    if (code !== 0) return code
  }
  return 0
}

export function generate(): Promise<number> {
  return inTurn(GENERATORS.map((file) => () => runTool(file, [])))
}

async function inTurn(runs: readonly (() => Promise<number>)[]): Promise<number> {
  for (const run of runs) {
    const code = await run()
    if (code !== 0) return code
  }
  return 0
}
