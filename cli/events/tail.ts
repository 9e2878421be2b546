// GET /v1/events?after= → one line an event
//
// Follows all accepted events of the tenant. A break of the API is waited out; the positions to go on from are told at the end.

import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { RefoldError } from '../../errors.ts'
import type { Answer, Client } from '../client.ts'
import { asJson, columns, openClient, type Output, print } from '../output.ts'
import { oneLine } from '../table.ts'

export type TailOptions = Output & { after?: string; limit: number; follow: boolean }

/** Between two looks while nothing new comes, ms. */
const PAUSE = 500
/** While the API is away, ms. */
const AWAY = 2000

const event = z.looseObject({
  execution_id: z.string(),
  seq: z.number(),
  event_name: z.string(),
  from_state: z.string(),
  to_state: z.string(),
  position: z.string(),
  appended_at: z.string(),
  payload: z.unknown(),
})
const page = z.object({ events: z.array(event), next: z.string(), more: z.boolean() })

/** Positions just before the recorder's checkpoints: what is accepted from now on comes after them. */
async function fromNow(client: Client): Promise<string> {
  const { headers, text } = await client.call('/v1/events', { query: { limit: 1 } })
  const watermark = headers.get('refold-watermark')
  if (watermark === null && page.parse(JSON.parse(text)).events.length > 0)
    throw new RefoldError('usage', 'where the log stands is not told by this API: give --after')
  return (watermark ?? '')
    .split(',')
    .map((position) => position.split(':'))
    .flatMap(([partition, next]) => (Number(next) > 0 ? `${partition}:${Number(next) - 1}` : []))
    .join(',')
}

function printEvent(one: z.infer<typeof event>): void {
  const moved = one.to_state === '' ? '' : `  ${one.from_state} → ${one.to_state}`
  const payload = one.payload === null ? '' : `  ${JSON.stringify(one.payload)}`
  print(oneLine(`${one.appended_at}  ${one.execution_id} ${one.seq}  ${one.event_name}${moved}${payload}`, columns()))
}

/** The answer, however long the API is away; undefined when `stop` fires before. Says once that it waits. */
async function patiently(ask: () => Promise<Answer>, stop: AbortSignal): Promise<Answer | undefined> {
  for (let told = false; !stop.aborted; told = true) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof RefoldError && error.retryable)) throw error
      if (!told) process.stderr.write(`${error.message} Waiting.\n`)
      await sleep(AWAY, undefined, { signal: stop }).catch(() => undefined) // stopped: the loop sees it
    }
  }
  return undefined
}

export async function tail({ after, limit, follow, ...output }: TailOptions, stop: AbortSignal): Promise<void> {
  const { parseJson, parseJsonVerbatim } = await import('../../workflow/json.ts')
  const client = await openClient()
  let next = after === 'start' ? '' : (after ?? (await fromNow(client)))
  const json = asJson(output)
  while (!stop.aborted) {
    const ask = () => client.call('/v1/events', { query: { after: next === '' ? undefined : next, limit } })
    const got = follow ? await patiently(ask, stop) : await ask()
    if (got === undefined) break
    const found = z.object({ events: z.array(z.unknown()), next: z.string(), more: z.boolean() }).parse(parseJsonVerbatim(got.text))
    // As it was sent: a number keeps the way it was written.
    if (json) for (const one of found.events) print(JSON.stringify(one))
    else for (const one of page.parse(parseJson(got.text)).events) printEvent(one)
    ;({ next } = found)
    if (!found.more && !follow) break
    if (!found.more) await sleep(PAUSE, undefined, { signal: stop }).catch(() => undefined) // stopped: the loop sees it
  }
  process.stderr.write(`To go on from here: --after ${next === '' ? 'start' : next}\n`)
}
