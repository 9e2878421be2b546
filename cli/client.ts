// The REST client of all commands: where the API is, whose token is used, and problems as errors of the catalogue.
// Answers stay text: what a command prints as JSON is what the server sent, to the last digit.

import { z } from 'zod'
import { asError, CATALOGUE, type ErrorCode, RefoldError } from '../errors.ts'
import { readState, stackFolder } from '../stack/state.ts'
import { announcedApi } from './announced.ts'

export type ApiAddress = { url: string; token: string }

type Environment = Readonly<Record<string, string | undefined>>

/** First token of `token=tenant,…`. */
const firstToken = (pairs: string | undefined) => (pairs ? pairs.split(',')[0]?.split('=')[0]?.trim() : undefined)

/**
 * Where the API is: REFOLD_API_URL and REFOLD_API_TOKEN, else what `refold start` and `stack up` of this clone left.
 * Throws RefoldError `api-unavailable` or `unauthenticated` when one of the two is not known.
 */
export function resolveApi(env: Environment = process.env, folder: string = stackFolder(env)): ApiAddress {
  const url = env['REFOLD_API_URL'] || announcedApi(folder)
  if (!url) throw new RefoldError('api-unavailable', 'no API runs in this clone, and REFOLD_API_URL is not set')
  if (!URL.canParse(url)) throw new RefoldError('config-invalid', `REFOLD_API_URL=${url} is not a URL`)
  const token = env['REFOLD_API_TOKEN'] || firstToken(env['REFOLD_API_TOKENS']) || readState(folder)?.developmentToken
  if (!token) throw new RefoldError('unauthenticated', 'REFOLD_API_TOKEN is not set, and no local stack has a development token')
  return { url, token }
}

export type Answer = { text: string; headers: Headers; status: number }

export type Call = {
  method?: 'GET' | 'POST'
  query?: Readonly<Record<string, string | number | undefined>>
  headers?: Readonly<Record<string, string>>
  body?: string
  /** Longest wait for the answer, ms. */
  timeout?: number
}

export type Client = {
  /** The answer of a successful call; a problem rejects as the RefoldError of its type. */
  call(path: string, call?: Call): Promise<Answer>
  /** As `call`, parsed; numbers beyond a double are lost: print `text` where they matter. */
  get<T>(path: string, shape: z.ZodType<T>, query?: Call['query']): Promise<T>
}

const problem = z.object({ type: z.string(), title: z.string(), detail: z.string() })
const PROBLEM = 'urn:refold:problem:'
const isCode = (code: string): code is ErrorCode => code in CATALOGUE

/** A problem the API answered with; `text` is the whole answer. */
export class ApiProblem extends RefoldError {
  readonly text: string

  constructor(code: ErrorCode, detail: string, text: string) {
    super(code, detail)
    this.text = text
  }
}

/** The error a failed answer stands for. */
function errorOf(status: number, text: string): RefoldError {
  let parsed: z.infer<typeof problem> | undefined
  try {
    parsed = problem.safeParse(JSON.parse(text)).data
  } catch {
    parsed = undefined // not JSON: some proxy's page
  }
  const code = parsed?.type.startsWith(PROBLEM) ? parsed.type.slice(PROBLEM.length) : ''
  if (parsed && isCode(code)) return new ApiProblem(code, parsed.detail, text)
  return new RefoldError('api-unavailable', `it answered ${status}: ${parsed?.title ?? text.slice(0, 200)}`)
}

const reasonOf = (error: Error): string =>
  error.cause instanceof Error && error.cause.message !== '' ? error.cause.message : error.message

export function createClient({ url, token }: ApiAddress): Client {
  async function call(to: string, { method = 'GET', query = {}, headers = {}, body, timeout = 90_000 }: Call = {}): Promise<Answer> {
    const address = new URL(to.replace(/^\//, ''), url.endsWith('/') ? url : `${url}/`)
    for (const [name, value] of Object.entries(query)) if (value !== undefined) address.searchParams.set(name, String(value))
    const request = { method, headers: { authorization: `Bearer ${token}`, ...headers }, signal: AbortSignal.timeout(timeout) }
    let response: Response
    let text: string
    try {
      response = await fetch(address, body === undefined ? request : { ...request, body })
      text = await response.text()
    } catch (cause) {
      throw new RefoldError('api-unavailable', `no answer from ${url} (${reasonOf(asError(cause))})`, { cause })
    }
    if (!response.ok) throw errorOf(response.status, text)
    return { text, headers: response.headers, status: response.status }
  }
  return {
    call,
    async get(to, shape, query = {}) {
      return shape.parse(JSON.parse((await call(to, { query })).text))
    },
  }
}
