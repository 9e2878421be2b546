// `refold executions`: what became of the events, over REST. Tables on a terminal; the server's JSON with --json or when
// the output goes elsewhere.

import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import type { Call, Client } from './client.ts'
import { oneLine, sheet, table } from './table.ts'

type Output = { json?: boolean }

const asJson = ({ json }: Output) => json ?? !process.stdout.isTTY
const print = (text: string) => process.stdout.write(`${text}\n`)
const columns = () => process.stdout.columns || 120

async function client(): Promise<Client> {
  const { createClient, resolveApi } = await import('./client.ts')
  return createClient(resolveApi())
}

const execution = z.object({
  executionId: z.string(),
  status: z.string(),
  currentState: z.string(),
  lastSeq: z.number(),
  workflow: z.string().nullable(),
  version: z.string().nullable(),
  key: z.string().nullable(),
  correlationId: z.string().nullable(),
  openedAt: z.string(),
  changedAt: z.string(),
  position: z.string(),
})
const page = z.object({ executions: z.array(execution), nextCursor: z.string().nullable() })

type ListOptions = Output & {
  workflow?: string
  key?: string
  state?: string
  status?: string
  correlation?: string
  since?: string
  limit: number
  cursor?: string
}

/** The answer to a GET: printed as it is, or read by `show`. */
async function get(path: string, query: NonNullable<Call['query']>, output: Output, tell: (text: string) => void): Promise<void> {
  const { text } = await (await client()).call(path, { query })
  if (asJson(output)) print(text)
  else tell(text)
}

async function list({ correlation, json, ...query }: ListOptions): Promise<void> {
  await get('/v1/executions', { ...query, correlation_id: correlation }, json === undefined ? {} : { json }, (text) => {
    const { executions, nextCursor } = page.parse(JSON.parse(text))
    if (executions.length === 0) {
      print('No execution fits.')
      return
    }
    const rows = executions.map((one) => [
      one.executionId,
      one.workflow ?? '',
      one.key ?? '',
      one.status,
      one.currentState,
      String(one.lastSeq),
      one.changedAt,
    ])
    print(table(['EXECUTION', 'WORKFLOW', 'KEY', 'STATUS', 'STATE', 'EVENTS', 'CHANGED'], rows, columns()))
    if (nextCursor !== null) print(`\nThere are more: --cursor ${nextCursor}`)
  })
}

async function show(id: string, output: Output): Promise<void> {
  const { parseJson } = await import('../workflow/json.ts')
  await get(`/v1/executions/${encodeURIComponent(id)}`, {}, output, (text) => {
    const value = parseJson(text)
    const one = execution.parse(JSON.parse(text))
    const { data, result, error } = z.looseObject({ data: z.unknown(), result: z.unknown(), error: z.unknown() }).parse(value)
    print(
      sheet([
        ['execution', one.executionId],
        ['workflow', [one.workflow, one.version].filter((part) => part !== null).join(' ')],
        ['key', one.key ?? ''],
        ['status', one.status],
        ['state', one.currentState],
        ['events', String(one.lastSeq)],
        ['opened', one.openedAt],
        ['changed', `${one.changedAt} (${one.position})`],
        ['correlation', one.correlationId ?? ''],
      ]),
    )
    print(`data  ${JSON.stringify(data, null, 2)}`)
    if (result !== null) print(`result  ${JSON.stringify(result, null, 2)}`)
    if (error !== null) print(`error  ${JSON.stringify(error, null, 2)}`)
  })
}

const history = z.object({
  events: z.array(
    z.object({
      seq: z.number(),
      created_at: z.string(),
      event_name: z.string(),
      from_state: z.string(),
      to_state: z.string(),
      payload: z.unknown(),
    }),
  ),
  next: z.number().nullable(),
})

async function events(id: string, { after, limit, ...output }: Output & { after: number; limit: number }): Promise<void> {
  const { parseJson } = await import('../workflow/json.ts')
  await get(`/v1/executions/${encodeURIComponent(id)}/events`, { after, limit }, output, (text) => {
    const { events: found, next } = history.parse(parseJson(text))
    const rows = found.map((one) => [
      String(one.seq),
      one.created_at,
      one.event_name,
      one.to_state === '' ? '' : `${one.from_state} → ${one.to_state}`,
      one.payload === null ? '' : oneLine(JSON.stringify(one.payload)),
    ])
    print(table(['SEQ', 'CREATED', 'EVENT', 'STATE', 'PAYLOAD'], rows, columns()))
    if (next !== null) print(`\nThere are more: --after ${next}`)
  })
}

const whole = (text: string): number => {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('it is a whole number.')
  return Number(text)
}

export function register(program: Command): void {
  const group = program
    .command('executions')
    .description('executions, their state and history')
    .addHelpText('after', '\nThe API is that of this clone, or REFOLD_API_URL with REFOLD_API_TOKEN.')

  group
    .command('list')
    .description('executions, the newest first')
    .option('--workflow <name>', 'of this workflow')
    .option('--key <key>', 'with this business key')
    .option('--state <state>', 'in this state')
    .option('--status <status>', 'running, paused, completed, failed, cancelled or terminated')
    .option('--correlation <id>', 'with this correlation id')
    .option('--since <time>', 'opened at or after this time, ISO 8601 with a zone')
    .option('--limit <count>', 'at most so many', whole, 50)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .option('--json', 'the server’s JSON, also on a terminal')
    .action(list)

  group
    .command('show')
    .description('one execution: its state and data')
    .argument('<id>', 'id of the execution')
    .option('--json', 'the server’s JSON, also on a terminal')
    .action(show)

  group
    .command('events')
    .description('the history of one execution')
    .argument('<id>', 'id of the execution')
    .option('--after <seq>', 'only events with a larger seq', whole, 0)
    .option('--limit <count>', 'at most so many', whole, 100)
    .option('--json', 'the server’s JSON, also on a terminal')
    .action(events)
}
