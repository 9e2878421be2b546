// [flags | stdin] → POST /v1/events → outcomes
//
// Events from a person or a script. What is large, or must go on by itself after a failure, is for `refold import`.

import { createInterface } from 'node:readline'
import { z } from 'zod'
import { RefoldError } from '../../errors.ts'
import { ApiProblem, type Call, type Client } from '../client.ts'
import { asJson, columns, openClient, type Output, print } from '../output.ts'
import { inWords } from '../receipts.ts'
import { oneLine, sheet } from '../table.ts'

export type EventFlags = {
  name?: string
  execution?: string
  workflow?: string
  key?: string
  to?: string
  from?: string
  /** JSON text, sent as it is. */
  payload?: string
  type?: string
  user?: string
  createdAt?: string
  eventId?: string
  correlation?: string
  causation?: string
}

export type SendOptions = Output & EventFlags & { idempotencyKey?: string; wait: number }

const outcome = z.looseObject({
  status: z.enum(['appended', 'refused', 'unknown']),
  event_id: z.string().optional(),
  execution_id: z.string().optional(),
  position: z.string().optional(),
  verdict: z.string().optional(),
  seq: z.number().optional(),
  reason: z.string().optional(),
  detail: z.string().optional(),
  problem: z.looseObject({ title: z.string(), detail: z.string() }).optional(),
})
type Outcome = z.infer<typeof outcome>
const answered = z.object({ outcomes: z.array(outcome) })

/** The item that flags describe, as JSON text; the payload's text is spliced in, to its last digit. */
export function itemOf({ payload, ...flags }: EventFlags): string {
  const item = JSON.stringify({
    event_name: flags.name,
    execution_id: flags.execution,
    workflow_name: flags.workflow,
    business_key: flags.key,
    to_state: flags.to,
    from_state: flags.from,
    event_type: flags.type,
    user_id: flags.user,
    created_at: flags.createdAt,
    event_id: flags.eventId,
    correlation_id: flags.correlation,
    causation_id: flags.causation,
  })
  return payload === undefined ? item : `${item.slice(0, -1)},"payload":${payload}}`
}

/** Lines of one request. The cut must not depend on timing: an idempotency key counts the items of a request. */
const LINES = 500

/** Non-empty lines, LINES at a time. */
async function* requests(input: NodeJS.ReadableStream): AsyncGenerator<string[]> {
  let lines: string[] = []
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    if (line.trim() === '') continue
    lines.push(line)
    if (lines.length < LINES) continue
    yield lines
    lines = []
  }
  if (lines.length > 0) yield lines
}

/** A request none of whose events was taken is a problem that carries their outcomes. */
async function outcomesOf(client: Client, call: Call): Promise<Outcome[]> {
  try {
    return answered.parse(JSON.parse((await client.call('/v1/events', { ...call, method: 'POST' })).text)).outcomes
  } catch (error) {
    const told = error instanceof ApiProblem ? answered.safeParse(JSON.parse(error.text)).data : undefined
    if (told === undefined) throw error
    return told.outcomes
  }
}

/** It counts, or may still: what is anything else fails the command. */
const isWell = ({ status, verdict = 'pending' }: Outcome) =>
  status === 'appended' && (verdict === 'pending' || verdict === 'accepted' || verdict === 'duplicate')

function becameOf(one: Outcome): string {
  if (one.status === 'appended') return `${inWords(one)}${one.detail === undefined ? '' : `: ${one.detail}`}`
  return `${one.status}: ${one.problem?.title}: ${one.problem?.detail}`
}

function printOne(one: Outcome): void {
  print(
    sheet([
      ['event', one.event_id ?? ''],
      ['execution', one.execution_id ?? ''],
      ['position', one.position ?? ''],
      ['verdict', becameOf(one)],
    ]),
  )
}

async function sendOne({ wait, idempotencyKey, json, ...flags }: SendOptions): Promise<void> {
  const output = json === undefined ? {} : { json }
  const headers = headersOf('application/json', wait, idempotencyKey)
  const [only] = await outcomesOf(await openClient(), { headers, body: `[${itemOf(flags)}]` })
  if (only === undefined) throw new RefoldError('internal', 'the API gave no outcome')
  if (asJson(output)) print(JSON.stringify(only))
  else printOne(only)
  if (!isWell(only)) process.exitCode = 1
}

function headersOf(type: string, wait: number, idempotencyKey: string | undefined): Record<string, string> {
  return {
    'content-type': type,
    ...(wait > 0 ? { prefer: `wait=${wait}` } : {}),
    ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
  }
}

async function sendLines({ wait, idempotencyKey, ...output }: SendOptions, input: NodeJS.ReadableStream): Promise<void> {
  const client = await openClient()
  let request = 0
  let line = 0
  let failed = 0
  for await (const lines of requests(input)) {
    const key = request === 0 || idempotencyKey === undefined ? idempotencyKey : `${idempotencyKey}#${request}`
    const outcomes = await outcomesOf(client, { headers: headersOf('application/x-ndjson', wait, key), body: lines.join('\n') })
    for (const one of outcomes) {
      line++
      if (!isWell(one)) failed++
      if (asJson(output)) print(JSON.stringify(one))
      else if (!isWell(one)) print(oneLine(`${line}  ${becameOf(one)}`, columns()))
    }
    request++
  }
  if (line === 0) throw new RefoldError('usage', 'nothing came on standard input: give --name, or events as NDJSON')
  if (!asJson(output)) print(`${line - failed} of ${line} events sent.`)
  if (failed > 0) process.exitCode = 1
}

/** With --name, the event that the flags describe; else NDJSON from standard input. */
export async function send(options: SendOptions): Promise<void> {
  if (options.name !== undefined) return sendOne(options)
  if (process.stdin.isTTY) throw new RefoldError('usage', 'give --name, or events as NDJSON on standard input')
  const given = Object.keys(options).filter((flag) => !['wait', 'json', 'idempotencyKey'].includes(flag))
  if (given.length > 0) throw new RefoldError('usage', `${given.join(', ')}: for one event only, and that needs --name`)
  return sendLines(options, process.stdin)
}
