// The demo's second half: some hundred orders as workflows, over REST; a few approvals by a person, one order whose payment
// never goes through, and what the diagnosis says of it.

import { z } from 'zod'
import { UNPAYABLE } from '../../examples/order-fulfilment/app.ts'
import { RefoldError } from '../../errors.ts'
import { type ApiAddress, createClient } from '../client.ts'
import { diagnosisText } from '../executions/workflows.ts'
import { table } from '../table.ts'

export type Orders = { count: number; say: (line: string) => void; stop: AbortSignal }

const started = z.looseObject({ executionId: z.string() })
const row = z.object({
  executionId: z.string(),
  key: z.string().nullable(),
  status: z.string(),
  currentState: z.string(),
  /** What its function returned; null while it runs. */
  result: z.looseObject({ outcome: z.string() }).nullable(),
})
const page = z.object({ executions: z.array(row), nextCursor: z.string().nullable() })
const planted = z.object({
  cause: z.string(),
  evidence: z.looseObject({
    attempt: z.number().optional(),
    lastError: z.looseObject({ message: z.string() }).nullish(),
    nextAttemptAt: z.string().nullish(),
  }),
})

type Client = ReturnType<typeof createClient>
type Order = z.infer<typeof row>

const JSON_BODY = { 'content-type': 'application/json' }
/** Above it a person must approve; every ninth order is, and the demo's person approves all but one. */
const LARGE = 5000
const NINTH = 9
const PATIENCE = 60_000
/** The planted order is asked about when so many attempts have failed: the waits between them are long enough by then to be seen. */
const FAILED = 4
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function start(client: Client, order: string, amount: number, lines: number): Promise<string> {
  const body = JSON.stringify({ workflow: 'order-fulfilment', version: '1', key: order, input: { order, amount, lines } })
  const { text } = await client.call('/v1/executions', { method: 'POST', body, headers: JSON_BODY })
  return started.parse(JSON.parse(text)).executionId
}

const isLarge = (i: number) => i % NINTH === NINTH - 1

async function startAll(client: Client, run: string, { count, stop }: Orders): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  const orders = Array.from({ length: count }, (_, i) => i)
  const worker = async () => {
    for (let i = orders.shift(); i !== undefined && !stop.aborted; i = orders.shift()) {
      const key = `order-${run}-${i}`
      all.set(key, await start(client, key, isLarge(i) ? LARGE : 20 + i, i === 0 ? 50 : 1 + (i % 4)))
    }
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  return all
}

async function list(client: Client): Promise<Order[]> {
  const all: Order[] = []
  let cursor: string | undefined
  do {
    const got = await client.get('v1/executions', page, { workflow: 'order-fulfilment', limit: 500, cursor })
    all.push(...got.executions)
    cursor = got.nextCursor ?? undefined
  } while (cursor !== undefined)
  return all
}

/** The person's answers: the first one is a no. `answered` has whom they were given to. */
async function answer(client: Client, waiting: readonly Order[], answered: Set<string>): Promise<void> {
  for (const { executionId } of waiting) {
    if (answered.has(executionId)) continue
    const event = { event_name: answered.size === 0 ? 'order.rejected' : 'order.approved', user_id: 'demo', idempotency_key: 'answer' }
    await client.call(`/v1/executions/${executionId}/events`, { method: 'POST', body: JSON.stringify([event]), headers: JSON_BODY })
    answered.add(executionId)
  }
}

/** The text of a diagnosis, once it tells of attempts that failed and of the next one, or after the patience with it. */
async function diagnosed(client: Client, executionId: string, stop: AbortSignal): Promise<string> {
  const began = performance.now()
  for (;;) {
    // It was started just now: until the recorder has it, it is not found.
    const { text } = await client.call(`/v1/executions/${executionId}/diagnosis`).catch((error: unknown) => {
      if (error instanceof RefoldError && error.code === 'not-found') return { text: undefined }
      throw error
    })
    if (text !== undefined) {
      const { cause, evidence } = planted.parse(JSON.parse(text))
      if (cause === 'action-retrying' && evidence.nextAttemptAt && (evidence.attempt ?? 0) >= FAILED) return text
    }
    if (stop.aborted || performance.now() - began > PATIENCE) return text ?? 'null'
    await pause(200)
  }
}

const endOf = ({ status, result }: Order) => (status === 'completed' && result ? result.outcome : status)

function countOf(orders: readonly Order[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const one of orders) counts.set(endOf(one), (counts.get(endOf(one)) ?? 0) + 1)
  return counts
}

/** What did not come as it must, a line each: of so many orders, of the answers to them, of the planted one's diagnosis. */
export function misfitsOf(count: number, orders: readonly Order[], answered: number, diagnosis: string): string[] {
  const large = Array.from({ length: count }, (_, i) => i).filter(isLarge).length
  const rejected = Math.min(large, 1)
  const counts = countOf(orders)
  const { shipped = 0, rejected: no = 0 } = Object.fromEntries(counts)
  const faults: string[] = []
  if (orders.length !== count || shipped !== count - rejected || no !== rejected)
    faults.push(`of ${count} orders ${shipped} were shipped and ${no} rejected, not ${count - rejected} and ${rejected}`)
  if (answered !== large) faults.push(`a person answered ${answered} orders, not ${large}`)
  const { data: one } = planted.safeParse(JSON.parse(diagnosis))
  if (one?.cause !== 'action-retrying' || !one.evidence.lastError || !one.evidence.nextAttemptAt)
    faults.push(`the planted order is diagnosed as ${one?.cause ?? 'nothing'}, not as action-retrying with its last error and next attempt`)
  return faults
}

/** Runs the orders to their end; answers whether all came as it must. */
export async function runOrders(api: ApiAddress, options: Orders): Promise<boolean> {
  const { say, stop } = options
  const client = createClient(api)
  const began = performance.now()
  const run = Date.now().toString(36)
  say(
    `Orders: ${options.count} executions of the workflow in examples/order-fulfilment. Each reserves stock and checks credit at once, pays`,
  )
  say('(the target fails at times, and is tried again) and packs its lines in parallel; a large one waits for a person first.')
  const ours = await startAll(client, run, options)
  const answered = new Set<string>()
  let orders: Order[] = []
  for (;;) {
    orders = (await list(client)).filter(({ key }) => ours.has(key ?? ''))
    const open = ours.size - orders.filter(({ status }) => status !== 'running').length
    const waiting = orders.filter(({ status, currentState }) => status === 'running' && currentState === 'awaiting-approval')
    say(`  ${ours.size - open} of ${ours.size} ended, ${waiting.length} wait for a person`)
    if (open === 0 || stop.aborted) break
    if (performance.now() - began > PATIENCE) throw new Error(`${open} orders did not end within ${PATIENCE / 1000} s`)
    if (waiting.length === open) await answer(client, waiting, answered)
    await pause(500)
  }
  if (stop.aborted) return false
  say(
    table(
      ['ORDERS', 'OUTCOME'],
      [...countOf(orders)].map(([name, n]) => [String(n).padStart(6), name]),
    ),
  )
  say(`${answered.size} answers by a person, one of them a no; ${((performance.now() - began) / 1000).toFixed(1)} s in all.`)
  say('')
  const unpayable = await start(client, UNPAYABLE + run, 100, 2)
  const diagnosis = await diagnosed(client, unpayable, stop)
  if (stop.aborted) return false
  const misfits = misfitsOf(ours.size, orders, answered.size, diagnosis)
  if (misfits.length > 0)
    say(`Not as it must be: ${misfits.join('; ')}.
`)
  say('One more order is planted: its payment never goes through. What is the matter with it?')
  say('')
  say(`  npm run refold -- executions diagnosis ${unpayable}`)
  say('')
  say(diagnosis === 'null' ? 'Nobody knows it.' : diagnosisText(diagnosis))
  say('')
  say('After its last attempt, some seconds from now, it gives its stock back and ends with the outcome failed.')
  return misfits.length === 0
}
