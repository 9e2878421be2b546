// produce → log → recorder → state → [REST]
//
// Reads of executions. JSON columns are spliced into the answer as their text: parsed and written again, a number with
// more digits than a double holds would change.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ExecutionCursor, ExecutionRow } from '../postgres/reads/executions.ts'
import { partitionOf } from '../workflow/partition.ts'
import { formatPosition } from '../workflow/position.ts'
import { openCursor, sealCursor } from './cursor.ts'
import { answers, eventJson, holdToPosition, missing, read, type ReadOptions, sendJson, spliced } from './reading.ts'
import * as shapes from './shapes.ts'

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
      tags: ['executions'],
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
      return sendJson(reply, executionJson(value))
    },
  })

  routes.route({
    method: 'GET',
    url: '/v1/executions/:executionId/events',
    schema: {
      ...read,
      tags: ['executions'],
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
      return sendJson(reply, `{"events":[${rows.map(eventJson).join(',')}],"next":${next}}`)
    },
  })

  routes.route({
    method: 'GET',
    url: '/v1/executions',
    schema: {
      ...read,
      tags: ['executions'],
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
      return sendJson(reply, `{"executions":[${value.rows.map(executionJson).join(',')}],"nextCursor":${next}}`)
    },
  })
}
