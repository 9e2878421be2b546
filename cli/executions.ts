// `refold executions`: what became of the events, over REST.

import type { Command } from 'commander'
import { z } from 'zod'
import { answer, columns, example, JSON_OPTION, type Output, print, segment, whole } from './output.ts'
import { registerWorkflows } from './executions/workflows.ts'
import { oneLine, sheet, table } from './table.ts'

const execution = z.object({
  executionId: z.string(),
  status: z.string(),
  currentState: z.string(),
  workflow: z.string().nullable(),
  version: z.string().nullable(),
  key: z.string().nullable(),
  correlationId: z.string().nullable(),
})
const current = execution.extend({ lastSeq: z.number(), openedAt: z.string(), changedAt: z.string(), position: z.string() })
const past = execution.extend({ seq: z.number(), isComplete: z.boolean() })
const page = z.object({ executions: z.array(current), nextCursor: z.string().nullable() })

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

async function list({ correlation, json, ...query }: ListOptions): Promise<void> {
  await answer('/v1/executions', { query: { ...query, correlation_id: correlation } }, json === undefined ? {} : { json }, ({ text }) => {
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

const contents = z.looseObject({ data: z.unknown(), result: z.unknown(), error: z.unknown() })

/** An execution below itself: what is the same of now and of the past, `more`, then its data. */
async function printState(text: string, one: z.infer<typeof execution>, more: readonly (readonly [string, string])[]): Promise<void> {
  const { parseJson } = await import('../workflow/json.ts')
  print(
    sheet([
      ['execution', one.executionId],
      ['workflow', [one.workflow, one.version].filter((part) => part !== null).join(' ')],
      ['key', one.key ?? ''],
      ['status', one.status],
      ['state', one.currentState],
      ...more,
      ['correlation', one.correlationId ?? ''],
    ]),
  )
  const { data, result, error } = contents.parse(parseJson(text))
  print(`data  ${JSON.stringify(data, null, 2)}`)
  if (result !== null) print(`result  ${JSON.stringify(result, null, 2)}`)
  if (error !== null) print(`error  ${JSON.stringify(error, null, 2)}`)
}

async function show(id: string, output: Output): Promise<void> {
  await answer(`/v1/executions/${segment(id)}`, {}, output, async ({ text }) => {
    const one = current.parse(JSON.parse(text))
    await printState(text, one, [
      ['events', String(one.lastSeq)],
      ['opened', one.openedAt],
      ['changed', `${one.changedAt} (${one.position})`],
    ])
  })
}

type StateOptions = Output & { seq?: number; at?: string; recordedAt?: string }

async function state(id: string, { seq, at, recordedAt, ...output }: StateOptions): Promise<void> {
  await answer(`/v1/executions/${segment(id)}/state`, { query: { seq, at, recordedAt } }, output, async ({ text }) => {
    const one = past.parse(JSON.parse(text))
    await printState(text, one, [
      ['events', String(one.seq)],
      ['complete', one.isComplete ? 'yes' : 'no'],
    ])
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
  await answer(`/v1/executions/${segment(id)}/events`, { query: { after, limit } }, output, ({ text }) => {
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

const kept = z.object({
  snapshots: z.array(
    z.object({
      seq: z.number(),
      foldVersion: z.number(),
      bytes: z.number(),
      recordedUntil: z.string(),
      createdUntil: z.string(),
      intact: z.boolean(),
      usable: z.boolean(),
    }),
  ),
})

const soundness = ({ intact, usable }: { intact: boolean; usable: boolean }) => {
  if (!intact) return 'spoiled'
  return usable ? 'yes' : 'of another fold'
}

async function snapshots(id: string, output: Output): Promise<void> {
  await answer(`/v1/executions/${segment(id)}/snapshots`, {}, output, ({ text }) => {
    const found = kept.parse(JSON.parse(text)).snapshots
    if (found.length === 0) print('No snapshot is kept: replay begins at the first event.')
    else {
      const rows = found.map((one) => [
        String(one.seq),
        String(one.foldVersion),
        String(one.bytes),
        one.recordedUntil,
        one.createdUntil,
        soundness(one),
      ])
      print(table(['SEQ', 'FOLD', 'BYTES', 'RECORDED UNTIL', 'CREATED UNTIL', 'USABLE'], rows, columns()))
    }
  })
}

const ID = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'

export function register(program: Command): void {
  const group = program
    .command('executions')
    .description('executions: start them, ask of them, their state and history')
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
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold executions list --workflow permit --status running --limit 10'))
    .action(list)

  group
    .command('show')
    .description('one execution: its state and data')
    .argument('<id>', 'id of the execution')
    .option(...JSON_OPTION)
    .addHelpText('after', example(`refold executions show ${ID}`))
    .action(show)

  group
    .command('events')
    .description('the history of one execution')
    .argument('<id>', 'id of the execution')
    .option('--after <seq>', 'only events with a larger seq', whole, 0)
    .option('--limit <count>', 'at most so many', whole, 100)
    .option(...JSON_OPTION)
    .addHelpText('after', example(`refold executions events ${ID} --after 20`))
    .action(events)

  group
    .command('state')
    .description('one execution as it was: replayed up to a seq, a moment, or now')
    .argument('<id>', 'id of the execution')
    .option('--seq <seq>', 'after the event with this seq', whole)
    .option('--at <time>', 'at this moment of business time (created_at), ISO 8601 with a zone')
    .option('--recorded-at <time>', 'at this moment by append time')
    .option(...JSON_OPTION)
    .addHelpText('after', example(`refold executions state ${ID} --at 2025-06-30T23:59:59Z`))
    .action(state)

  group
    .command('snapshots')
    .description('the states kept of one execution, and whether replay would use them')
    .argument('<id>', 'id of the execution')
    .option(...JSON_OPTION)
    .addHelpText('after', example(`refold executions snapshots ${ID}`))
    .action(snapshots)

  registerWorkflows(group)
}
