// The schema registry, by its Confluent-compatible HTTP API (Confluent, Apicurio's /apis/ccompat/v7, Karapace).
//
// Owns: registering our schemas and asking for a writer's schema by id. Called at start-up, and by the recorder for an id
// it hasn't stored; never on a hot path. Plain fetch: the registry client of kafkajs gives no schema's text, has no
// timeout, and reports a registry that is down as status 400.
//
// S1  `unknown` is said only when the registry itself says so: it makes a verdict, and verdicts are for ever. A proxy, a
//     wrong path or a registry that is down is `registry-unavailable`.
// S2  A subject's compatibility is set before its first schema (the registry starts at NONE).

import { setTimeout as wait } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { asError, RefoldError } from '../errors.ts'

export type Registry = {
  /**
   * Registers an Avro schema under a subject with BACKWARD compatibility and gives its id; the same text again, the same
   * id, also from many processes at once. Errors: `schema-incompatible`, `registry-unavailable`.
   */
  register(subject: string, text: string): Promise<number>
  /** The schema with this id. `unknown` is remembered for a moment. Errors: `registry-unavailable`. */
  lookup(id: number): Promise<Lookup>
}

export type Lookup = { state: 'found'; text: string } | { state: 'unknown' }

export type RegistryOptions = {
  url: string
  /** Of one request, in ms. */
  timeout?: number
  /** How long an unknown id is not asked for again, in ms. */
  forget?: number
}

const CONTENT_TYPE = 'application/vnd.schemaregistry.v1+json'
/** The registry's own "schema not found", inside a 404. */
const SCHEMA_NOT_FOUND = 40403
const INCOMPATIBLE = 409
const INVALID_SCHEMA = 422
/** Two processes that make a subject at the same time can get in each other's way. */
const REGISTER_ATTEMPTS = 5
const UNKNOWN_KEPT = 10_000

/** Levels that hold at least what we ask for: an operator's stricter choice is left alone. */
export const COMPATIBLE: ReadonlySet<unknown> = new Set(['BACKWARD', 'BACKWARD_TRANSITIVE', 'FULL', 'FULL_TRANSITIVE'])

type Answer = { status: number; body: { [key: string]: unknown } }

/** The registry's address without its credentials, which fetch refuses in a URL and no message may show. */
export function endpointOf(url: string): { root: string; headers: Record<string, string> } {
  const base = new URL(url)
  const headers: Record<string, string> = { accept: `${CONTENT_TYPE}, application/json`, 'content-type': CONTENT_TYPE }
  if (base.username !== '') {
    const credentials = `${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`
    headers['authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`
    base.username = base.password = ''
  }
  return { root: base.href.replace(/\/+$/, ''), headers }
}

function bodyOf(body: unknown): Answer['body'] {
  if (typeof body === 'object' && body !== null) return body as Answer['body']
  throw new Error('the answer is not a JSON object')
}

function saidOf({ status, body }: Answer): string {
  return `status ${status}: ${typeof body['message'] === 'string' ? body['message'] : JSON.stringify(body)}`
}

export function createRegistry({ url, timeout = 5000, forget = 5000 }: RegistryOptions): Registry {
  const { root, headers } = endpointOf(url)
  const unknown = new LRUCache<number, true>({ max: UNKNOWN_KEPT, ttl: forget })

  const unavailable = (path: string, detail: string, cause?: unknown) =>
    new RefoldError('registry-unavailable', `${root}${path}: ${detail}`, { cause })

  /** An answer that isn't JSON, or none, is `registry-unavailable`. */
  async function ask(method: 'GET' | 'PUT' | 'POST', path: string, body?: object): Promise<Answer> {
    const init = { method, headers, signal: AbortSignal.timeout(timeout), ...(body && { body: JSON.stringify(body) }) }
    try {
      const response = await fetch(root + path, init)
      return { status: response.status, body: bodyOf(await response.json()) }
    } catch (error) {
      const { message, cause } = asError(error)
      throw unavailable(path, cause === undefined ? message : asError(cause).message, error)
    }
  }

  /** Undefined once the subject is compatible enough; else what stood against it. */
  async function setCompatibility(subject: string): Promise<RefoldError | undefined> {
    const path = `/config/${subject}`
    const now = await ask('GET', path)
    if (now.status === 200 && COMPATIBLE.has(now.body['compatibilityLevel'])) return undefined
    const set = await ask('PUT', path, { compatibility: 'BACKWARD' })
    return set.status === 200 ? undefined : unavailable(path, saidOf(set))
  }

  /** One try: an id, or what stood against it and may be gone the next time. */
  async function tryRegister(subject: string, text: string): Promise<number | RefoldError> {
    const refused = await setCompatibility(encodeURIComponent(subject))
    if (refused) return refused
    const path = `/subjects/${encodeURIComponent(subject)}/versions`
    const answer = await ask('POST', path, { schema: text })
    const id = answer.body['id']
    if (answer.status === 200 && typeof id === 'number') return id
    if (answer.status === INCOMPATIBLE || answer.status === INVALID_SCHEMA)
      throw new RefoldError('schema-incompatible', `${subject}: ${saidOf(answer)}`)
    return unavailable(path, saidOf(answer))
  }

  async function register(subject: string, text: string): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const result = await tryRegister(subject, text)
      if (typeof result === 'number') return result
      if (attempt === REGISTER_ATTEMPTS) throw result
      await wait(50 * 2 ** attempt * (1 + Math.random()))
    }
  }

  async function lookup(id: number): Promise<Lookup> {
    if (unknown.has(id)) return { state: 'unknown' }
    const path = `/schemas/ids/${id}`
    const answer = await ask('GET', path)
    const text = answer.body['schema']
    if (answer.status === 200 && typeof text === 'string') return { state: 'found', text }
    if (answer.status !== 404 || answer.body['error_code'] !== SCHEMA_NOT_FOUND) throw unavailable(path, saidOf(answer))
    unknown.set(id, true)
    return { state: 'unknown' }
  }

  return { register, lookup }
}
