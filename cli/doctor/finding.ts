// What a look found: a line for a person, with what to type where something is not as it should be.

import { setTimeout as pause } from 'node:timers/promises'
import { asError, RefoldError } from '../../errors.ts'

export type Level = 'ok' | 'warn' | 'wrong'

/** `todo` is what to do, as a sentence or a command; absent where nothing is. */
export type Finding = { name: string; level: Level; found: string; todo?: string }

export const ok = (name: string, found: string): Finding => ({ name, level: 'ok', found })
export const warn = (name: string, found: string, todo: string): Finding => ({ name, level: 'warn', found, todo })
export const wrong = (name: string, found: string, todo: string): Finding => ({ name, level: 'wrong', found, todo })

/** Longest look at one server, in ms. */
export const WITHIN = 3000

export type Looked<T> = { state: 'seen'; seen: T } | { state: 'failed'; finding: Finding }

/** Looks at a server; one that is away, or takes too long, is a finding. */
export async function look<T>(name: string, todo: string, looking: (within: number) => Promise<T>): Promise<Looked<T>> {
  try {
    const end = new AbortController()
    const late = pause(WITHIN, undefined, { signal: end.signal }).then(() => {
      throw new Error(`no answer within ${WITHIN / 1000} s`)
    })
    late.catch(() => undefined)
    const looked = looking(WITHIN)
    looked.catch(() => undefined) // when it fails after we gave up on it
    const seen = await Promise.race([looked, late]).finally(() => end.abort())
    return { state: 'seen', seen }
  } catch (thrown) {
    return { state: 'failed', finding: wrong(name, `does not answer: ${reasonOf(thrown)}`, todo) }
  }
}

/** The innermost reason: "connect ECONNREFUSED 127.0.0.1:9092" and not "fetch failed". */
function reasonOf(thrown: unknown): string {
  const error = asError(thrown)
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0])
  if (error instanceof RefoldError) return error.detail
  if (error.name === 'TimeoutError') return `no answer within ${WITHIN / 1000} s`
  return error.cause instanceof Error && error.cause.message !== '' ? reasonOf(error.cause) : error.message
}

export const ms = (milliseconds: number) => `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`

/** Differences up to this are no finding, in ms: they are in the measurement, and nothing here depends on less. */
const CLOCKS_AGREE = 1000

/** A server's clock against ours. Events carry the sender's time and the brokers'; timers go by the brokers'. */
export function clock(name: string, difference: number): Finding {
  const seconds = `${Math.abs(difference / 1000).toFixed(1)} s`
  if (Math.abs(difference) <= CLOCKS_AGREE) return ok(name, `within ${CLOCKS_AGREE / 1000} s of this machine's`)
  return warn(
    name,
    `${seconds} ${difference > 0 ? 'ahead of' : 'behind'} this machine's`,
    'Set both by NTP: a sender without a clock of its own dates its events by it.',
  )
}
