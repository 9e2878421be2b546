// Errors as RFC 9457 problems. The only place with HTTP numbers of errors; titles and help come from the catalogue.

import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { CATALOGUE, type ErrorCode, RefoldError } from '../errors.ts'

const STATUS: Partial<Record<ErrorCode, number>> = {
  'request-invalid': 400,
  'event-invalid': 400,
  'name-reserved': 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  'redrive-impossible': 409,
  'workflow-unknown': 409,
  'operation-open': 409,
  'operation-impossible': 409,
  'execution-ended': 409,
  'execution-not-driven': 409,
  'retry-impossible': 409,
  'method-not-allowed': 405,
  'position-not-reached': 412,
  'log-append-too-large': 413,
  'request-too-large': 413,
  'media-type-unsupported': 415,
  'idempotency-conflict': 422,
  overloaded: 503,
  'log-unavailable': 503,
  'log-closed': 503,
  'log-topic-missing': 503,
  'database-unavailable': 503,
  'registry-unavailable': 503,
  'keys-unavailable': 503,
}

/** Seconds after which the same call may work. */
const RETRY_AFTER: Partial<Record<ErrorCode, number>> = {
  overloaded: 1,
  'position-not-reached': 1,
  'log-unavailable': 5,
  'log-closed': 5,
  'database-unavailable': 5,
  'keys-unavailable': 5,
}

export type Problem = {
  /** Stable: `urn:refold:problem:<code>`, codes of docs/errors.md. */
  type: string
  title: string
  status: number
  detail: string
  help: string
  retryable: boolean
  [extension: string]: unknown
}

export const PROBLEM_TYPE = 'urn:refold:problem:'
export const PROBLEM_JSON = 'application/problem+json'

export const statusOf = (code: ErrorCode) => STATUS[code] ?? 500

/** A problem of the catalogue; `extensions` are further members, such as `gap` or `errors`. */
export function problemOf(code: ErrorCode, detail: string, extensions: Readonly<Record<string, unknown>> = {}): Problem {
  const { title, help, retryable } = CATALOGUE[code]
  return { type: `${PROBLEM_TYPE}${code}`, title, status: statusOf(code), detail, help, retryable, ...extensions }
}

/** An error that carries members of its own into its problem. */
export class ProblemError extends RefoldError {
  readonly extensions: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, detail: string, extensions: Readonly<Record<string, unknown>>) {
    super(code, detail)
    this.extensions = extensions
  }
}

/** Sends a problem as the whole answer. */
export function sendProblem(reply: FastifyReply, code: ErrorCode, detail: string, extensions?: Readonly<Record<string, unknown>>) {
  const problem = problemOf(code, detail, extensions)
  const wait = RETRY_AFTER[code]
  if (wait !== undefined) void reply.header('retry-after', wait)
  if (code === 'unauthenticated') void reply.header('www-authenticate', 'Bearer realm="refold"')
  return reply.code(problem.status).type(PROBLEM_JSON).send(JSON.stringify(problem))
}

/** Fastify's own refusals that have a code of the catalogue. */
const FASTIFY: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'request-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media-type-unsupported',
}

/** Fastify's error handler: every error leaves as a problem; only mistakes of ours are logged with their stack. */
export function errorHandler(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof RefoldError) {
    if (statusOf(error.code) >= 500) request.log.warn({ err: error }, 'request not served')
    return sendProblem(reply, error.code, error.detail, error instanceof ProblemError ? error.extensions : {})
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const errors = error.validation.map(({ instancePath, message }) => ({ path: instancePath, message: message ?? 'not valid' }))
    // The root is '' or '/': what is wrong there is wrong with the whole body, or the whole query.
    const nameOf = (path: string) => path.replace(/^\//, '') || error.validationContext
    const detail = errors.map(({ path, message }) => `${nameOf(path)}: ${message}`).join('; ')
    return sendProblem(reply, 'request-invalid', detail, { errors })
  }
  const known = 'code' in error ? FASTIFY[error.code] : undefined
  if (known) return sendProblem(reply, known, error.message)
  if ('statusCode' in error && error.statusCode !== undefined && error.statusCode < 500)
    return sendProblem(reply, 'request-invalid', error.message)
  request.log.error({ err: error }, 'request failed')
  return sendProblem(reply, 'internal', `request ${request.id}`)
}

/** Answers what no route answers; to be made before there are routes, so that it knows them all. */
export function createNotFound(app: FastifyInstance) {
  const methods = new Map<string, { path: RegExp; allowed: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    const path = new RegExp(`^${url.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/:[A-Za-z]+/g, '[^/]+')}/?$`)
    const route = methods.get(url) ?? { path, allowed: new Set() }
    for (const one of [method].flat()) route.allowed.add(one)
    methods.set(url, route)
  })
  return (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.split('?')[0] ?? ''
    const allowed = new Set([...methods.values()].filter((route) => route.path.test(path)).flatMap((route) => [...route.allowed]))
    if (allowed.size === 0) return sendProblem(reply, 'not-found', `no route ${request.method} ${path}; /openapi.json lists all`)
    const allow = [...allowed].toSorted().join(', ')
    void reply.header('allow', allow)
    return sendProblem(reply, 'method-not-allowed', `${path} has no ${request.method}; it has ${allow}`)
  }
}
