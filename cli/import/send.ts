// file → read → map → lanes → [POST /v1/events → verdicts] → summary
//
// One batch, sent until it is answered. Sending again is always safe: each item carries its idempotency key, so an event
// that got in before the answer was lost comes back as a duplicate.

import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { asError, RefoldError } from '../../errors.ts'

export type Target = {
  /** Address of the API; a path in it comes before /v1. */
  url: string
  token: string
  /** Seconds the server waits for verdicts; 0 asks for none. */
  wait: number
  /** Milliseconds without any answer after which the import stops. */
  patience: number
}

const problem = z.object({ type: z.string().default(''), title: z.string().default(''), detail: z.string().optional() })

const outcome = z.object({
  /** unknown: the log did not acknowledge it; sent again here. */
  status: z.enum(['appended', 'refused', 'unknown']),
  event_id: z.string().optional(),
  execution_id: z.string().optional(),
  position: z.string().optional(),
  verdict: z.enum(['pending', 'accepted', 'duplicate', 'conflict', 'late', 'early', 'quarantined']).optional(),
  reason: z.string().optional(),
  detail: z.string().optional(),
  problem: problem.optional(),
})
const answer = z.object({ outcomes: z.array(outcome) })

export type Outcome = z.infer<typeof outcome>

/** `again` is true when the batch was sent more than once: then a duplicate may be this import's own. */
export type Answer = { outcomes: Outcome[]; again: boolean }

type Failed = { failure: RefoldError; after?: number }

const TRANSIENT: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
const FIRST_DELAY = 100
const LONGEST_DELAY = 5000

function retryAfter(response: Response): { after?: number } {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? { after: Math.min(seconds * 1000, 60_000) } : {}
}

function describe(status: number, body: string): string {
  try {
    const { title, detail } = problem.parse(JSON.parse(body))
    return `the API answered ${status}: ${[title, detail].filter((part) => part).join(': ')}`
  } catch {
    return `the API answered ${status}: ${body.slice(0, 200)}`
  }
}

function parseAnswer(body: string, count: number): Outcome[] | undefined {
  try {
    const { outcomes } = answer.parse(JSON.parse(body))
    return outcomes.length === count ? outcomes : undefined
  } catch {
    return undefined
  }
}

async function attempt(items: readonly string[], { url, token, wait }: Target): Promise<Outcome[] | Failed> {
  const response = await fetch(new URL('v1/events', url.endsWith('/') ? url : `${url}/`), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/x-ndjson',
      ...(wait > 0 ? { prefer: `wait=${wait}` } : {}),
    },
    body: `${items.join('\n')}\n`,
    // The answer may take the whole wait; beyond that and a margin it is lost.
    signal: AbortSignal.timeout((wait + 60) * 1000),
  })
  const body = await response.text()
  if (TRANSIENT.has(response.status))
    return { failure: new RefoldError('import-failed', describe(response.status, body)), ...retryAfter(response) }
  // A 400 whose every item was refused carries the items too.
  const outcomes = parseAnswer(body, items.length)
  if (outcomes) return outcomes
  if (response.status === 401) throw new RefoldError('unauthenticated', describe(response.status, body))
  throw new RefoldError('request-invalid', describe(response.status, body))
}

async function attemptOrLost(items: readonly string[], target: Target): Promise<Outcome[] | Failed> {
  try {
    return await attempt(items, target)
  } catch (error) {
    if (error instanceof RefoldError) throw error
    const { message, cause } = asError(error)
    const why = cause instanceof Error ? `${message}: ${cause.message || ('code' in cause ? String(cause.code) : cause.name)}` : message
    return { failure: new RefoldError('import-failed', `no answer from ${target.url} (${why})`, { cause: error }) }
  }
}

/** How long to pause before attempt `tries` + 1. */
function pauseAfter(tries: number, after = 0): number {
  const backOff = Math.min(FIRST_DELAY * 2 ** (tries - 1), LONGEST_DELAY)
  return Math.max(backOff * (0.5 + Math.random() / 2), after)
}

const UNACKNOWLEDGED: Failed = { failure: new RefoldError('import-failed', 'the log did not acknowledge what was sent') }

/**
 * Sends a batch of items (JSON texts) until each is answered; gives an outcome per item, in order. Rejects with
 * `import-failed` once nothing was answered for `patience`, or when `stop` fires between two attempts; with
 * `unauthenticated` or `request-invalid` at once.
 */
export async function send(items: readonly string[], target: Target, stop: AbortSignal): Promise<Answer> {
  const known: (Outcome | undefined)[] = items.map(() => undefined)
  const open = () => items.flatMap((_, i) => (known[i] === undefined ? [i] : []))
  let progressed = performance.now()
  for (let tries = 1; ; tries++) {
    const asked = open()
    const result = await attemptOrLost(
      asked.map((i) => items[i]!),
      target,
    )
    if (Array.isArray(result)) {
      for (const [at, i] of asked.entries()) if (result[at]!.status !== 'unknown') known[i] = result[at]
      const outcomes = known.filter((one) => one !== undefined)
      if (outcomes.length === items.length) return { outcomes, again: tries > 1 }
      if (open().length < asked.length) progressed = performance.now()
    }
    const { failure, after } = Array.isArray(result) ? UNACKNOWLEDGED : result
    const pause = pauseAfter(tries, after)
    if (stop.aborted || performance.now() - progressed + pause > target.patience) throw failure
    // An abort only ends the pause: the loop sends once more, then gives up.
    await sleep(pause, undefined, { signal: stop }).catch(() => undefined)
  }
}
