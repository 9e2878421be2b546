// `refold executions start|result|signal|cancel|…|actions|diagnosis`: driven executions, over REST.

import type { Command } from 'commander'
import { z } from 'zod'
import { answer, columns, example, JSON_OPTION, openClient, type Output, print, segment, whole } from '../output.ts'
import { oneLine, sheet, table } from '../table.ts'

const ID = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const JSON_BODY = { 'content-type': 'application/json' }

type StartOptions = Output & {
  version?: string
  key?: string
  input?: string
  user?: string
  correlation?: string
  idempotencyKey?: string
  wait: number
}

const started = z.looseObject({ executionId: z.string(), position: z.string().optional(), version: z.string().optional() })
const ending = z.looseObject({ executionId: z.string(), status: z.string(), result: z.unknown(), error: z.unknown() })

async function printEnding(text: string): Promise<void> {
  const { parseJson } = await import('../../workflow/json.ts')
  const { executionId, status, result, error } = ending.parse(parseJson(text))
  print(
    sheet([
      ['execution', executionId],
      ['status', status],
    ]),
  )
  if (result !== null) print(`result  ${JSON.stringify(result, null, 2)}`)
  if (error !== null) print(`error  ${JSON.stringify(error, null, 2)}`)
}

const FAILED: ReadonlySet<string> = new Set(['failed', 'cancelled', 'terminated'])
const standing = z.looseObject({ executionId: z.string(), status: z.string().optional() })

/** Exit code 1 where it did not end well, or not in the time it was waited for; then a line says how to go on waiting. */
function exitBy({ status: answered, text }: { status: number; text: string }, wait: number): void {
  const { executionId, status = '' } = standing.parse(JSON.parse(text))
  const isLate = wait > 0 && answered === 202
  if (isLate) process.stderr.write(`not ended after ${wait} s; refold executions result ${executionId} --wait ${wait} waits on\n`)
  if (isLate || FAILED.has(status)) process.exitCode = 1
}

const waitHeader = (wait: number): Record<string, string> => (wait > 0 ? { prefer: `wait=${wait}` } : {})

async function start(workflow: string, options: StartOptions): Promise<void> {
  const { version, key, input = 'null', user, correlation, idempotencyKey, wait, json } = options
  // The input's own text goes out, to its last digit.
  const known = JSON.stringify({ workflow, version, key, user_id: user, correlation_id: correlation })
  const headers = { ...JSON_BODY, ...waitHeader(wait), ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }) }
  const call = { method: 'POST', body: `${known.slice(0, -1)},"input":${input}}`, headers } as const
  const got = await answer('/v1/executions', call, json === undefined ? {} : { json }, async ({ text, status }) => {
    if (status === 200) return printEnding(text)
    const one = started.parse(JSON.parse(text))
    print(
      sheet([
        ['execution', one.executionId],
        ['version', one.version ?? ''],
        ['position', one.position ?? ''],
      ]),
    )
  })
  exitBy(got, wait)
}

async function resultOf(id: string, { wait, ...output }: Output & { wait: number }): Promise<void> {
  const got = await answer(`/v1/executions/${segment(id)}/result`, { headers: waitHeader(wait) }, output, ({ text }) => printEnding(text))
  exitBy(got, wait)
}

type SignalOptions = Output & { payload?: string; user?: string; idempotencyKey?: string; wait: number }

const signalled = z.object({ outcomes: z.array(z.object({ verdict: z.string().optional(), reason: z.string().optional() })) })
const outcomeOf = (text: string) => signalled.parse(JSON.parse(text)).outcomes[0] ?? {}
/** It counts, or may still. */
const COUNTS = new Set(['accepted', 'duplicate', 'pending'])

async function signal(id: string, name: string, { payload, user, idempotencyKey, wait, ...output }: SignalOptions): Promise<void> {
  const item = JSON.stringify({ event_name: name, user_id: user, idempotency_key: idempotencyKey })
  const body = payload === undefined ? `[${item}]` : `[${item.slice(0, -1)},"payload":${payload}}]`
  const call = { method: 'POST', body, headers: { ...JSON_BODY, ...waitHeader(wait) } } as const
  const got = await answer(`/v1/executions/${segment(id)}/events`, call, output, ({ text, headers }) => {
    const { verdict = 'pending', reason } = outcomeOf(text)
    print(`sent, at ${headers.get('refold-position')}: ${verdict}${reason === undefined ? '' : `, ${reason}`}`)
  })
  if (!COUNTS.has(outcomeOf(got.text).verdict ?? 'pending')) process.exitCode = 1
}

type AskOptions = Output & { reason?: string; user?: string; action?: number }

const ask =
  (verb: string) =>
  async (id: string, { reason, user, action, ...output }: AskOptions): Promise<void> => {
    const body = JSON.stringify({ reason, user_id: user, action })
    await answer(`/v1/executions/${segment(id)}/${verb}`, { method: 'POST', body, headers: JSON_BODY }, output, ({ headers }) => {
      print(`asked, at ${headers.get('refold-position')}`)
    })
  }

const actionsPage = z.object({
  actions: z.array(
    z.object({
      action: z.number(),
      name: z.string(),
      status: z.string(),
      attempt: z.number(),
      attempts: z.number(),
      scheduledAt: z.string(),
      endedAt: z.string().nullable(),
      lastError: z.object({ message: z.string() }).nullable(),
      nextAttemptAt: z.string().nullable(),
    }),
  ),
  next: z.number().nullable(),
})

async function actions(id: string, { limit, after, ...output }: Output & { limit: number; after?: number }): Promise<void> {
  await answer(`/v1/executions/${segment(id)}/actions`, { query: { limit, after } }, output, ({ text }) => {
    const page = actionsPage.parse(JSON.parse(text))
    const rows = page.actions.map((one) => [
      String(one.action),
      one.name,
      one.status,
      `${one.attempt}/${one.attempts}`,
      one.scheduledAt,
      one.endedAt ?? one.nextAttemptAt ?? '',
      one.lastError?.message ?? '',
    ])
    print(
      rows.length === 0
        ? 'It asked for no action.'
        : table(['N', 'ACTION', 'STATUS', 'ATTEMPT', 'SCHEDULED', 'ENDED OR NEXT', 'LAST ERROR'], rows, columns()),
    )
    if (page.next !== null) print(`\nThere are more: --after ${page.next}`)
  })
}

const diagnosisShape = z.object({
  executionId: z.string(),
  status: z.string(),
  currentState: z.string(),
  cause: z.string(),
  summary: z.string(),
  evidence: z.record(z.string(), z.unknown()),
  byItself: z.string(),
  youCan: z.array(z.string()),
  also: z.array(z.string()),
})

/** A diagnosis as a person reads it. */
export function diagnosisText(text: string): string {
  const one = diagnosisShape.parse(JSON.parse(text))
  const evidence = Object.entries(one.evidence).map(([name, value]): [string, string] => [
    `  ${name}`,
    oneLine(typeof value === 'string' ? value : JSON.stringify(value), 200),
  ])
  return [
    sheet([
      ['execution', one.executionId],
      ['status', `${one.status}, in state ${one.currentState}`],
      ['cause', one.cause],
      ['because', one.summary],
      ['by itself', one.byItself],
    ]),
    'you can',
    ...one.youCan.map((line) => `  ${line}`),
    'evidence',
    sheet(evidence),
    ...(one.also.length > 0 ? ['also', ...one.also.map((line) => `  ${line}`)] : []),
  ].join('\n')
}

async function diagnosis(id: string, output: Output): Promise<void> {
  await answer(`/v1/executions/${segment(id)}/diagnosis`, {}, output, ({ text }) => void print(diagnosisText(text)))
}

async function exportHistory(id: string): Promise<void> {
  const { historyOf } = await import('./open.ts')
  print(await historyOf(await openClient(), id))
}

const ASKED = [
  ['cancel', 'cancel: what it waits on is rejected, so that it can undo what it did'],
  ['pause', 'pause: events wait in the log until it is resumed'],
  ['resume', 'go on after a pause'],
  ['terminate', 'end it where it stands, without its function'],
  ['retry', 'try the actions that back off again, now; exit code 1 where none does: what failed for good stays so'],
] as const

export function registerWorkflows(group: Command): void {
  const ofOne = (name: string, about: string) =>
    group
      .command(name)
      .description(about)
      .argument('<id>', 'id of the execution')
      .option(...JSON_OPTION)

  group
    .command('start')
    .description('start a workflow')
    .argument('<workflow>', 'its name')
    .option('--version <version>', 'pinned for its life; without it the one that the runtimes register')
    .option('--key <key>', 'business key: the same key, the same execution')
    .option('--input <json>', 'its input')
    .option('--user <id>', 'who asks')
    .option('--correlation <id>', 'groups executions that belong together')
    .option('--idempotency-key <key>', 'the same key again names the same execution')
    .option('--wait <seconds>', 'wait so long for its end; exit code 1 where it does not come, or is none of success', whole, 0)
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      example(`refold executions start order-fulfilment --key o-1 --input '{"order":"o-1","amount":10,"lines":3}' --wait 10`),
    )
    .action(start)

  ofOne('result', 'how it ended')
    .option('--wait <seconds>', 'wait so long for its end; exit code 1 where it does not come, or is none of success', whole, 0)
    .addHelpText('after', example(`refold executions result ${ID} --wait 30`))
    .action(resultOf)

  group
    .command('signal')
    .description('send it an event')
    .argument('<id>', 'id of the execution')
    .argument('<name>', 'name of the event')
    .option('--payload <json>', 'its payload')
    .option('--user <id>', 'who sends it')
    .option('--idempotency-key <key>', 'the same key again is the same event')
    .option('--wait <seconds>', 'wait so long, at most 60, for the verdict; exit code 1 where it does not count', whole, 5)
    .option(...JSON_OPTION)
    .addHelpText('after', example(`refold executions signal ${ID} order.approved --user ann`))
    .action(signal)

  for (const [verb, about] of ASKED) {
    const command = ofOne(verb, about).option('--reason <text>', 'why; kept in its history').option('--user <id>', 'who asks')
    if (verb === 'retry') command.option('--action <n>', 'only the one with this decision number', whole)
    command.addHelpText('after', example(`refold executions ${verb} ${ID} --reason "…"`)).action(ask(verb))
  }

  ofOne('actions', 'its actions: attempts, last errors, what comes next')
    .option('--limit <count>', 'at most so many', whole, 1000)
    .option('--after <number>', 'only actions with a larger number', whole)
    .addHelpText('after', example(`refold executions actions ${ID}`))
    .action(actions)
  ofOne('diagnosis', 'why it stands where it stands, what happens by itself, what you can do')
    .addHelpText('after', example(`refold executions diagnosis ${ID}`))
    .action(diagnosis)

  group
    .command('export')
    .description('its whole history as JSON, for a test: see docs/workflows.md#testing')
    .argument('<id>', 'id of the execution')
    .addHelpText('after', example(`refold executions export ${ID} > history.json`))
    .action(exportHistory)
}
