// The section of docs/workflows.md on an application beside the clone, done as it says: its folder has nothing that is not written
// there. Only what `npm install` brings is put there by hand, since no test asks npm's registry.

import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const ROOT = path.join(import.meta.dirname, '..', '..')
const run = promisify(execFile)

const page = readFileSync(path.join(ROOT, 'docs', 'workflows.md'), 'utf8')
const section = /^## An application of your own$([^]*?)^## /m.exec(page)?.[1] ?? ''
const blocks = [...section.matchAll(/```(\w+)\n([^]*?)```/g)].map(([, language, text]) => ({ language, text: text ?? '' }))
const [commands, app, test, config] = blocks.map(({ text }) => text)

// Not below the clone, where `refold` and zod are found without an install.
const folder = mkdtempSync(path.join(tmpdir(), 'refold-own-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

t.test('the commands, the module, its test and the settings of its types', { timeout: 120_000 }, async (t) => {
  t.strictSame(
    blocks.map(({ language }) => language),
    ['sh', 'ts', 'ts', 'json'],
  )
  const steps = (commands ?? '').trim().split(' && ')
  t.equal(steps.pop(), 'npm install <path of this clone> zod')
  await run('sh', ['-ec', steps.join('\n')], { cwd: folder })
  t.match(JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')), { type: 'module' })

  const installed = (name: string) => path.join(folder, 'node_modules', name)
  mkdirSync(installed(''), { recursive: true })
  symlinkSync(ROOT, installed('refold')) // as npm does with a folder
  cpSync(path.join(ROOT, 'node_modules', 'zod'), installed('zod'), { recursive: true })
  for (const [name, text] of Object.entries({ 'app.ts': app, 'app.test.ts': test, 'tsconfig.json': config }))
    writeFileSync(path.join(folder, name), text ?? '')

  const there = { cwd: folder, env: { PATH: process.env['PATH'] } }
  // Not bin/tsc, which tap's own loader takes for CommonJS.
  const tsc = path.join(ROOT, 'node_modules', 'typescript', 'lib', 'tsc.js')
  const found = await run(process.execPath, [tsc], there).catch((error: unknown) => (error as { stdout: unknown }).stdout)
  t.strictSame(found, { stdout: '', stderr: '' })
  const { stdout } = await run(process.execPath, ['--test', '--test-reporter=tap'], there)
  t.match(stdout, /^# pass 1\n# fail 0$/m)
})

t.test('it runs on real servers', { timeout: 120_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker', { app: path.join(folder, 'app.ts') })
  const rest = restOf(url, 'token')
  const body = JSON.stringify({ workflow: 'greeting', version: '1', input: { name: 'Ada' } })
  const started = await rest.post('/v1/executions', body, { 'content-type': 'application/json' })
  const { executionId } = started.json() as { executionId: string }
  const result = (await rest.get(`/v1/executions/${executionId}/result`, { prefer: 'wait=60' })).json()
  t.match(result, { status: 'completed', result: { text: 'Good morning, Ada' } })
})
