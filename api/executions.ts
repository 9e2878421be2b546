// produce → log → recorder → state → [REST]
//
// Reads of executions. JSON columns are spliced into the answer as their text: parsed and written again, a number with
// more digits than a double holds would change.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import type { Checkpoints } from '../postgres/reads/checkpoints.ts'
import type { EventRow } from '../postgres/reads/events.ts'
import type { ExecutionCursor, ExecutionRow } from '../postgres/reads/executions.ts'
import { partitionOf } from '../workflow/partition.ts'
import { formatPosition } from '../workflow/position.ts'
import { openCursor, sealCursor } from './cursor.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { ProblemError } from './problem.ts'
import * as shapes from './shapes.ts'
import type { Watermarks } from './watermarks.ts'

export type ReadOptions = Pick<ApiDeps, 'reads' | 'partitions'> & { watermarks: Watermarks }

const JSON_TYPE = 'application/json; charset=utf-8'

/** An object's text without its closing brace, and raw members after it. */
function spliced(known: object, raw: Readonly<Record<string, string | null>>): string {
  const members = Object.entries(raw).map(([key, text]) => `,"${key}":${text ?? 'null'}`)
  return `${JSON.stringify(known).slice(0, -1)}${members.join('')}}`
}

export function executionJson(row: ExecutionRow): string {
  return spliced(
    {
      executionId: row.execution_id,
      tenant: row.tenant,
      status: row.status,
      currentState: row.current_state,
      lastSeq: Number(row.last_seq),
      workflow: row.workflow_name,
      version: row.workflow_version,
      key: row.business_key,
      correlationId: row.correlation_id,
      openedAt: row.opened_at,
      changedAt: row.changed_at,
      position: formatPosition({ partition: row.partition, offset: Number(row.last_offset) }),
    },
    { data: row.data, result: row.result, error: row.error },
  )
}

export function eventJson({ payload, seq, partition, log_offset, ...row }: EventRow): string {
  return spliced({ ...row, seq: Number(seq), position: formatPosition({ partition, offset: Number(log_offset) }) }, { payload })
}

/** Waits for `minPosition` as long as `Prefer: wait` says; RefoldError `position-not-reached` with the gap otherwise. */
export async function holdToPosition(
  request: FastifyRequest,
  reply: FastifyReply,
  { watermarks, partitions }: ReadOptions,
  asked: Checkpoints | undefined,
): Promise<void> {
  if (!asked) return
  const unknown = [...asked.keys()].find((partition) => partition >= partitions)
  if (unknown !== undefined) throw new RefoldError('request-invalid', `minPosition: there is no partition ${unknown}`)
  const wait = preferredWait(request.headers.prefer)
  if (wait !== undefined) void reply.header('preference-applied', `wait=${wait}`)
  const gap = await watermarks.wait(asked, (wait ?? 0) * 1000)
  if (gap.length === 0) return
  const detail = gap.map(({ partition, asked: to, behind }) => `p${partition}:${to} is ${behind} records ahead`).join('; ')
  throw new ProblemError('position-not-reached', detail, { gap })
}

const missing = (id: string) => new RefoldError('not-found', `no execution ${id}`)

const read = {
  tags: ['executions'],
  headers: shapes.readHeaders,
}
const answers = { ...shapes.problems.invalid, ...shapes.problems.auth, ...shapes.problems.behind, ...shapes.problems.away }

const filter = z.strictObject({
  key: z.string().optional().describe('Business key.'),
  workflow: z.string().optional().describe('Workflow name.'),
  state: z.string().optional().describe('Current state.'),
  status: z.enum(['running', 'paused', 'completed', 'failed', 'cancelled', 'terminated']).optional(),
  correlation_id: z.string().optional(),
  since: shapes.time.optional().describe('First event appended at or after this time, ISO 8601 with a zone.'),
  limit: shapes.limit(50, 500),
  cursor: z.string().optional().describe('`nextCursor` of the page before.'),
  minPosition: shapes.minPosition,
})

const cursorShape = z.object({ openedAt: z.string().regex(/^-?\d{1,18}$/), executionId: z.guid() }) satisfies z.ZodType<ExecutionCursor>

export async function executionRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks, partitions } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()

  routes.route({
    method: 'GET',
    url: '/v1/executions/:executionId',
    schema: {
      ...read,
      summary: 'An execution as it stands.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({ minPosition: shapes.minPosition }),
      response: { 200: shapes.execution, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      await holdToPosition(request, reply, options, request.query.minPosition)
      const { value, checkpoints } = await reads.execution(request.tenant, executionId, partitionOf(executionId, partitions))
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      return reply.type(JSON_TYPE).send(executionJson(value) as never)
    },
  })

  routes.route({
    method: 'GET',
    url: '/v1/executions/:executionId/events',
    schema: {
      ...read,
      summary: "An execution's history: accepted events in order of seq.",
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({
        after: z.coerce.number<string>().int().min(0).default(0).describe('Only events with a larger seq.'),
        limit: shapes.limit(100, 1000),
        minPosition: shapes.minPosition,
      }),
      response: {
        200: z.object({
          events: z.array(shapes.historyEvent),
          next: z.int().nullable().describe('`after` of the next page; null at the end.'),
        }),
        ...answers,
        ...shapes.problems.missing,
      },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      const { after, limit } = request.query
      await holdToPosition(request, reply, options, request.query.minPosition)
      const partition = partitionOf(executionId, partitions)
      const { value, checkpoints } = await reads.history(request.tenant, executionId, partition, { after, limit: limit + 1 })
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      const rows = value.slice(0, limit)
      const next = value.length > limit ? (rows.at(-1)?.seq ?? 'null') : 'null'
      return reply.type(JSON_TYPE).send(`{"events":[${rows.map(eventJson).join(',')}],"next":${next}}` as never)
    },
  })

  routes.route({
    method: 'GET',
    url: '/v1/executions',
    schema: {
      ...read,
      summary: 'Executions, the newest first.',
      querystring: filter,
      response: { 200: z.object({ executions: z.array(shapes.execution), nextCursor: z.string().nullable() }), ...answers },
    },
    handler: async (request, reply) => {
      const { cursor, minPosition, correlation_id: correlationId, ...rest } = request.query
      const after = cursor === undefined ? undefined : openCursor(cursor, cursorShape)
      await holdToPosition(request, reply, options, minPosition)
      const { value, checkpoints } = await reads.executions(request.tenant, { ...rest, correlationId, after })
      watermarks.mark(reply, checkpoints)
      const next = JSON.stringify(value.next ? sealCursor(value.next) : null)
      return reply.type(JSON_TYPE).send(`{"executions":[${value.rows.map(executionJson).join(',')}],"nextCursor":${next}}` as never)
    },
  })
}
