// [produce] → log → recorder → state → REST
//
// POST /v1/events: many events at a time, each with its own outcome; nothing of a request depends on another item of it.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { asError, RefoldError } from '../errors.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { formatPosition, formatPositions, type Position } from '../workflow/position.ts'
import { type Body, type BodyLimits, holdToBudget, keepBodiesRaw } from './bodies.ts'
import { refuseOtherContent } from './idempotency.ts'
import { eventItemShape, type Item, readItems } from './items.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { type Problem, ProblemError, problemOf, statusOf } from './problem.ts'
import * as shapes from './shapes.ts'
import type { Watermarks } from './watermarks.ts'

type Judgement = { verdict: string; seq?: number; reason?: string; detail?: string }

type Outcome =
  | ({ status: 'appended'; event_id: string; execution_id: string; position: string } & Judgement)
  | { status: 'refused'; problem: Problem }
  | { status: 'unknown'; event_id: string; execution_id: string; problem: Problem }

type Appended = { outcome: Outcome; position?: Position }

export type AppendOptions = Pick<ApiDeps, 'appender' | 'reads' | 'taken'> & BodyLimits & { watermarks: Watermarks }

/** W3C trace context, handed on in the record's headers. */
function traceOf(request: FastifyRequest): Record<string, string> | undefined {
  const { traceparent, tracestate } = request.headers
  if (typeof traceparent !== 'string') return undefined
  return typeof tracestate === 'string' ? { traceparent, tracestate } : { traceparent }
}

function failed(event: WorkflowEvent, error: unknown): Outcome {
  const cause = error instanceof RefoldError ? error : new RefoldError('internal', asError(error).message, { cause: error })
  const problem = problemOf(cause.code, cause.detail)
  // What can't ever be written is refused for good; of anything else nobody knows whether it is in the log.
  if (cause.code === 'log-append-too-large') return { status: 'refused', problem }
  return { status: 'unknown', event_id: event.event_id, execution_id: event.execution_id, problem }
}

type Trace = ReturnType<typeof traceOf>

async function appendItem(item: Item, headers: Trace, { log }: FastifyRequest, appender: AppendOptions['appender']): Promise<Appended> {
  if (item.state === 'refused') return { outcome: { status: 'refused', problem: item.problem } }
  const { event } = item
  try {
    const { partition, offset } = await appender.append(event, headers)
    const position = { partition, offset }
    const { event_id, execution_id } = event
    return { position, outcome: { status: 'appended', event_id, execution_id, position: formatPosition(position), verdict: 'pending' } }
  } catch (error) {
    if (!(error instanceof RefoldError)) log.error({ err: error }, 'append failed')
    return { outcome: failed(event, error) }
  }
}

/** Highest offset of each partition. */
function highest(appended: readonly Appended[]): Map<number, number> {
  const offsets = new Map<number, number>()
  for (const { position } of appended)
    if (position) offsets.set(position.partition, Math.max(position.offset, offsets.get(position.partition) ?? -1))
  return offsets
}

/** Fills in the verdicts, as far as they are known within `ms`. Postgres away: they stay pending, the append stands. */
async function judge(appended: readonly Appended[], tenant: string, ms: number, { watermarks, reads }: AppendOptions): Promise<void> {
  try {
    await watermarks.wait(highest(appended), ms)
    const positions = appended.flatMap(({ position }) => position ?? [])
    const { value: verdicts } = await reads.verdicts(tenant, positions)
    for (const { outcome } of appended)
      if (outcome.status === 'appended') Object.assign(outcome, verdicts.get(outcome.position) satisfies Judgement | undefined)
  } catch (error) {
    if (!(error instanceof RefoldError) || error.code !== 'database-unavailable') throw error
  }
}

/** Nothing of the request is in the log: one problem for all, with the outcomes beside it. */
function nothingAppended(outcomes: readonly Outcome[]): never {
  const problems = outcomes.flatMap((outcome) => (outcome.status === 'appended' ? [] : outcome.problem))
  const first = problems[0]
  const unknown = outcomes.find(({ status }) => status === 'unknown')
  if (unknown && 'problem' in unknown) {
    const code = codeOf(unknown.problem)
    throw new ProblemError(statusOf(code) === 503 ? code : 'log-unavailable', unknown.problem.detail, { outcomes })
  }
  const detail = outcomes.length === 1 ? (first?.detail ?? '') : `none of ${outcomes.length} events is valid; first: ${first?.detail}`
  throw new ProblemError(outcomes.length === 1 && first ? codeOf(first) : 'request-invalid', detail, { outcomes })
}

const codeOf = (problem: Problem) => problem.type.slice(problem.type.lastIndexOf(':') + 1) as RefoldError['code']

async function answer(items: readonly Item[], request: FastifyRequest, reply: FastifyReply, options: AppendOptions): Promise<void> {
  const wait = preferredWait(request.headers.prefer)
  // All at once: appends of one partition are written in the order of the calls.
  const trace = traceOf(request)
  const appended = await Promise.all(items.map((item) => appendItem(item, trace, request, options.appender)))
  request.giveBack()
  const outcomes = appended.map(({ outcome }) => outcome)
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length
  const counts = { appended: count('appended'), refused: count('refused'), unknown: count('unknown') }
  options.taken?.(counts)
  if (counts.appended === 0) nothingAppended(outcomes)
  if (wait !== undefined) await judge(appended, request.tenant, wait * 1000, options)
  const position = formatPositions(highest(appended))
  void reply.code(202).type('application/json; charset=utf-8').header('refold-position', position)
  const [only] = outcomes
  if (outcomes.length === 1 && only?.status === 'appended')
    void reply.header('location', `/v1/executions/${only.execution_id}/receipts/${only.event_id}?position=${position}`)
  if (wait !== undefined) void reply.header('preference-applied', `wait=${wait}`)
  void reply.send(JSON.stringify({ ...counts, position, outcomes }))
}

const appendHeaders = z.object({
  prefer: z.string().optional().describe('`wait=N`: wait up to N seconds (at most 60) for the verdicts.'),
  'idempotency-key': z
    .string()
    .min(1)
    .max(256)
    .optional()
    .describe('The same key and the same request again give the same event ids, so nothing counts twice.'),
})

const describeAppend = {
  tags: ['events'],
  consumes: ['application/json', 'application/x-ndjson'],
  headers: appendHeaders,
  body: z.array(eventItemShape),
  response: {
    202: shapes.appendAnswer,
    ...shapes.problems.invalid,
    ...shapes.problems.auth,
    ...shapes.problems.conflict,
    ...shapes.problems.large,
    ...shapes.problems.away,
  },
}

export async function appendRoutes(scope: FastifyInstance, options: AppendOptions): Promise<void> {
  keepBodiesRaw(scope, options.bodyLimit)
  holdToBudget(scope, options)
  const routes = scope.withTypeProvider<ZodTypeProvider>()

  async function items(request: FastifyRequest, executionId?: string): Promise<Item[]> {
    const body = request.body as Body | undefined
    if (!body) throw new RefoldError('request-invalid', 'the body is empty')
    const key = request.headers['idempotency-key']
    const sender = { tenant: request.tenant, now: Date.now(), idempotencyKey: typeof key === 'string' ? key : undefined }
    const all = await readItems(body.bytes, body.format, sender, executionId)
    if (all.length === 0) throw new RefoldError('request-invalid', 'the body has no events')
    return sender.idempotencyKey === undefined ? all : refuseOtherContent(all, request.tenant, options.reads)
  }

  async function take(request: FastifyRequest, reply: FastifyReply, executionId?: string): Promise<never> {
    request.handled = true
    try {
      await answer(await items(request, executionId), request, reply, options)
      return reply as never
    } finally {
      request.giveBack()
    }
  }

  routes.route({
    method: 'POST',
    url: '/v1/events',
    schema: { ...describeAppend, summary: 'Append events, of any executions; an outcome for each.' },
    handler: (request, reply) => take(request, reply),
  })

  routes.route({
    method: 'POST',
    url: '/v1/executions/:executionId/events',
    schema: {
      ...describeAppend,
      summary: 'Append events to one execution; an outcome for each.',
      params: z.object({ executionId: shapes.executionId }),
    },
    handler: (request, reply) => take(request, reply, request.params.executionId),
  })
}
