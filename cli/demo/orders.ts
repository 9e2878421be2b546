// The demo's second half: some hundred orders as workflows, over REST; a few approvals by a person, one order whose payment
// never goes through, and what the diagnosis says of it.

import { z } from 'zod'
import { UNPAYABLE } from '../../examples/order-fulfilment/app.ts'
import { type ApiAddress, createClient } from '../client.ts'
import { diagnosisText } from '../executions/workflows.ts'
import { table } from '../table.ts'

export type Orders = { count: number; say: (line: string) => void; stop: AbortSignal }

const started = z.looseObject({ executionId: z.string() })
const page = z.object({
  executions: z.array(z.object({ executionId: z.string(), key: z.string().nullable(), status: z.string(), currentState: z.string() })),
  nextCursor: z.string().nullable(),
})

type Client = ReturnType<typeof createClient>
type Order = z.infer<typeof page>['executions'][number]

const JSON_BODY = { 'content-type': 'application/json' }
/** Above it a person must approve; every ninth order is, and the demo's person approves all but one. */
const LARGE = 5000
const PATIENCE = 60_000

async function start(client: Client, order: string, amount: number, lines: number): Promise<string> {
  const body = JSON.stringify({ workflow: 'order-fulfilment', version: '1', key: order, input: { order, amount, lines } })
  const { text } = await client.call('/v1/executions', { method: 'POST', body, headers: JSON_BODY })
  return started.parse(JSON.parse(text)).executionId
}

async function startAll(client: Client, run: string, { count, stop }: Orders): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  const orders = Array.from({ length: count }, (_, i) => i)
  const worker = async () => {
    for (let i = orders.shift(); i !== undefined && !stop.aborted; i = orders.shift()) {
      const order = `order-${run}-${i}`
      all.set(order, await start(client, order, i % 9 === 8 ? LARGE : 20 + i, i === 0 ? 50 : 1 + (i % 4)))
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

async function approve(client: Client, orders: readonly Order[], ours: ReadonlyMap<string, string>): Promise<number> {
  const waiting = orders.filter(
    ({ key, currentState, status }) => status === 'running' && currentState === 'awaiting-approval' && ours.has(key ?? ''),
  )
  for (const [i, { executionId }] of waiting.entries()) {
    const event = { event_name: i === 0 ? 'order.rejected' : 'order.approved', user_id: 'demo', idempotency_key: 'answer' }
    await client.call(`/v1/executions/${executionId}/events`, { method: 'POST', body: JSON.stringify([event]), headers: JSON_BODY })
  }
  return waiting.length
}

/** Runs the orders to their end; answers whether each ended as it must. */
export async function runOrders(api: ApiAddress, options: Orders): Promise<boolean> {
  const { say, stop } = options
  const client = createClient(api)
  const began = performance.now()
  const run = Date.now().toString(36)
  say(
    `Orders: ${options.count} executions of examples/order-fulfilment, each with parallel actions, payment with retries, a line each to pack`,
  )
  const ours = await startAll(client, run, options)
  const planted = await start(client, UNPAYABLE + run, 100, 2)
  let approved = 0
  for (;;) {
    const orders = await list(client)
    const open = orders.filter(({ key, status }) => status === 'running' && ours.has(key ?? ''))
    const waiting = open.filter(({ currentState }) => currentState === 'awaiting-approval').length
    say(`  ${ours.size - open.length} of ${ours.size} ended, ${waiting} wait for a person`)
    if (open.length === 0 || stop.aborted) break
    if (performance.now() - began > PATIENCE) throw new Error(`${open.length} orders did not end within ${PATIENCE / 1000} s`)
    if (waiting === open.length) approved += await approve(client, open, ours)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  if (stop.aborted) return false
  const orders = (await list(client)).filter(({ key }) => ours.has(key ?? ''))
  const counts = new Map<string, number>()
  for (const { status, currentState } of orders)
    counts.set(`${status}, ${currentState}`, (counts.get(`${status}, ${currentState}`) ?? 0) + 1)
  say(
    table(
      ['ORDERS', 'ENDED'],
      [...counts].map(([name, n]) => [String(n).padStart(6), name]),
    ),
  )
  say(`${approved} answers by a person; ${((performance.now() - began) / 1000).toFixed(1)} s in all.`)
  say('')
  say(`One order was planted whose payment never goes through. Its diagnosis (refold executions diagnosis ${planted}):`)
  say('')
  const { text } = await client.call(`/v1/executions/${planted}/diagnosis`)
  say(diagnosisText(text))
  return orders.length === ours.size && orders.every(({ status }) => status === 'completed')
}
