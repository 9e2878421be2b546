// docs/rebuilding.md: its commands are run as they stand, against real servers, and print what the page says.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const ROOT = path.join(import.meta.dirname, '..', '..')
const PAGE = readFileSync(path.join(ROOT, 'docs', 'rebuilding.md'), 'utf8')

/** Each command with what it prints; `…` stands for any text, in a line of its own for any lines. */
const examples = [...PAGE.matchAll(/^```sh\n(npm run refold -- [^\n]+)\n```\n\n```text\n(.*?)^```$/gms)].map(
  ([, command = '', printed = '']) => ({ command, lines: printed.split('\n').filter((line) => line !== '') }),
)
const commands = [...PAGE.matchAll(/^npm run refold -- [^\n]+$/gm)].map(([command]) => command)

const literally = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`).replaceAll(/\s{2,}/g, '\\s+')

/** Both streams, without empty lines; a refusal prints as well. */
const printedBy = (command: string, env: NodeJS.ProcessEnv) =>
  new Promise<string>((resolve) => {
    execFile('bash', ['-c', `${command} 2>&1`], { cwd: ROOT, env }, (_, stdout) => resolve(stdout.trimStart().replaceAll(/\n+/g, '\n')))
  })

/** What is printed, without empty lines. */
const pattern = (lines: readonly string[]) =>
  new RegExp(
    `^${lines.map((line) => (line === '…' ? '(?:[^\n]*\n)*?' : `${line.split('…').map(literally).join('[^\n]*')} *\n`)).join('')}$`,
  )

t.test('the runbook prints what it says', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  installation.env['REFOLD_OPERATOR_TOKENS'] = 'token'
  const app = path.join(ROOT, 'test', 'support', 'runbook-app.ts')
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app })
  const rest = restOf(url, 'token')
  // The last one is what `payments` throws at.
  const events = Array.from({ length: 60 }, (_, n) => ({
    execution_id: `0b8f1c7e-5d1e-4c3a-9a48-${n.toString(16).padStart(12, '0')}`,
    event_name: n === 59 ? 'payment.booked' : 'order.placed',
    to_state: n % 2 === 0 ? 'placed' : 'paid',
    payload: { till: n },
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
  await until(async () => ((await rest.get('/v1/projections/payments')).json() as { parked: string[] }).parked.length === 1, {
    within: 60_000,
    what: 'payments to be parked',
  })
  t.same(
    examples.map(({ command }) => command),
    commands,
    'each command stands with what it prints',
  )
  // As on a terminal: into a pipe the commands print JSON.
  const terminal = '--import data:text/javascript,process.stdout.isTTY=true,process.stdout.columns=400'
  const env = { ...process.env, ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token', NODE_OPTIONS: terminal }
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  let operation = ''
  for (const { command, lines } of examples) {
    const own = command
      .replace('npm run refold --', 'node bin/refold.js')
      .replaceAll('refold.events', `${prefix}.events`)
      .replaceAll('refold.projection.', `${prefix}.projection.`)
      .replace('<operation>', operation)
    const wanted = pattern(lines)
    const ask = async () => (await printedBy(own, env)).replaceAll(prefix, 'refold')
    let printed = await ask()
    // What was asked for a moment ago is soon so; Kafka's tool sets the same offsets again.
    if (/ (?:list|show|incidents)|kafka-consumer-groups/.test(command))
      await until(async () => wanted.test(printed) || wanted.test((printed = await ask())), { within: 30_000, what: command }).catch(
        () => undefined,
      )
    operation = /operation (\S+)/.exec(printed)?.[1] ?? operation
    t.match(printed, wanted, command)
  }
})
