// docs/rebuilding.md: its commands are run as they stand, against real servers, and print what the page says.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const ROOT = path.join(import.meta.dirname, '..', '..')
const PAGE = readFileSync(path.join(ROOT, 'docs', 'rebuilding.md'), 'utf8')
const run = promisify(execFile)

/** Each command with what it prints; `…` stands for any text. */
const examples = [...PAGE.matchAll(/^```sh\n(npm run refold -- [^\n]+)\n```\n\n```text\n(.*?)^```$/gms)].map(
  ([, command = '', printed = '']) => ({
    command,
    lines: printed.trimEnd().split('\n'),
  }),
)

const pattern = (line: string) =>
  new RegExp(
    `^${line
      .trimEnd()
      .split('…')
      .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll(/ {2,}/g, ' +'))
      .join('.*')}\\s*$`,
  )

t.test('the runbook prints what it says', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  installation.env['REFOLD_OPERATOR_TOKENS'] = 'token'
  const app = path.join(ROOT, 'test', 'support', 'shipped-app.ts')
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app })
  const rest = restOf(url, 'token')
  const events = Array.from({ length: 60 }, (_, n) => ({
    execution_id: `0b8f1c7e-5d1e-4c3a-9a48-${n.toString(16).padStart(12, '0')}`,
    event_name: 'order.placed',
    to_state: n % 2 === 0 ? 'placed' : 'paid',
    created_at: '2026-01-31T08:00:00.000Z',
  }))
  t.equal((await rest.send(events)).status, 202)
  await until(
    async () => {
      const { lag, watermark } = (await rest.get('/v1/projections/executions_by_state')).json() as { lag: number; watermark: string }
      const { rows } = (await rest.get('/v1/projections/executions_by_state/rows')).json() as { rows: { entered: string }[] }
      return lag === 0 && watermark !== '' && rows.reduce((sum, { entered }) => sum + Number(entered), 0) === events.length
    },
    { within: 60_000, every: 100, what: 'the events to be folded' },
  )
  t.ok(examples.length >= 6, `${examples.length} commands`)
  // As on a terminal: into a pipe the commands print JSON.
  const terminal = '--import data:text/javascript,process.stdout.isTTY=true'
  const env = { ...process.env, ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token', NODE_OPTIONS: terminal }
  for (const { command, lines } of examples) {
    const { stdout } = await run('bash', ['-c', command.replace('npm run refold --', 'node bin/refold.js')], { cwd: ROOT, env })
    const printed = stdout.split('\n')
    let at = 0
    for (const line of lines) {
      const found = printed.findIndex((one, i) => i >= at && pattern(line).test(one))
      t.ok(found >= 0, `${command}: ${line}`, { printed: stdout })
      if (found >= 0) at = found + 1
    }
  }
})
