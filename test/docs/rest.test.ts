// docs/rest.md: its examples are run as they stand, against real servers; its routes are those of the API.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { isJsonObject, parseJsonVerbatim } from '../../workflow/json.ts'
import { fakeApi } from '../support/fake-api.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

const PAGE = readFileSync(path.join(import.meta.dirname, '../../docs/rest.md'), 'utf8')
const run = promisify(execFile)

type Example = { code: string; expected?: { kind: 'json' | 'text'; text: string } }

/** Code blocks in order: each `sh` with the `json` or `text` block that follows it before the next. */
function examples(page: string): Example[] {
  const found: Example[] = []
  for (const [, kind = '', text = ''] of page.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    if (kind === 'sh') found.push({ code: text })
    else if (kind === 'json' || kind === 'text') Object.assign(found.at(-1) ?? {}, { expected: { kind, text } })
  }
  return found
}

/** What of `expected` is in `actual`, as far as it is; `…` stands for any text, numbers are compared as they are written. */
function shared(actual: unknown, expected: unknown): unknown {
  if (expected === '…') return typeof actual === 'string' && actual !== '' ? expected : actual
  if (Array.isArray(expected) && Array.isArray(actual))
    return actual.length === expected.length ? expected.map((one, at) => shared(actual[at], one)) : actual
  if (!isJsonObject(expected) || !isJsonObject(actual)) return actual
  return Object.fromEntries(Object.entries(expected).map(([key, one]) => [key, shared(actual[key], one)]))
}

const END = '\n%%%%\n'

t.test('the examples answer what the page says', async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (addresses.databaseUrl === undefined) return
  const installation = await useInstallation(t, addresses, 'secret=demo')
  const { url } = await startRefold(t, installation, 'api,recorder')
  const all = examples(PAGE)
  t.ok(all.length > 8)
  // One shell for all of them, since later ones use variables of earlier ones.
  const script = all.map(({ code }) => `${code}printf '\\n%%%%%%%%\\n'\n`).join('')
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: t.testdir(),
    env: { ...process.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'secret' },
  })
  const outputs = stdout.split(END)
  t.equal(outputs.length, all.length + 1)
  for (const [at, { code, expected }] of all.entries()) {
    const output = outputs[at] ?? ''
    if (expected?.kind === 'json') {
      const wanted = parseJsonVerbatim(expected.text)
      t.strictSame(JSON.stringify(shared(parseJsonVerbatim(output), wanted), null, 1), JSON.stringify(wanted, null, 1), code)
    } else if (expected)
      for (const line of expected.text.trim().split('\n')) t.ok(output.includes(line.replace('…', '')), `${line} in ${output}`)
  }
})

t.test('the page names each route, and no other', async (t) => {
  const { app } = await fakeApi(t, { metrics: { contentType: 'text/plain', metrics: async () => '' } })
  const { paths } = (await app.inject('/openapi.json')).json<{ paths: Record<string, Record<string, unknown>> }>()
  const real = Object.entries(paths).flatMap(([route, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${route}`))
  const named = PAGE.split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([A-Z]+ [^`]+)`/g)].map(([, route = '']) => route))
  t.strictSame(named.toSorted(), real.toSorted())
})

t.test('each command the page names is there', async (t) => {
  const commands = PAGE.split('\n')
    .filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...(line.split('|')[3] ?? '').matchAll(/`([^`]+)`/g)].map(([, command = '']) => command))
  t.ok(commands.length > 8)
  const main = path.join(import.meta.dirname, '../../cli/main.ts')
  for (const command of commands) {
    const { stdout } = await run(process.execPath, [main, ...command.split(' '), '--help'])
    t.match(stdout, `Usage: refold ${command} `)
  }
})
