// GET …/actions: what an execution has asked workers for, as the recorder keeps it.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ActionRow } from '../postgres/reads/work.ts'
import { partitionOf } from '../workflow/partition.ts'
import { answers, holdToPosition, missing, read, type ReadOptions, sendJson, spliced } from './reading.ts'
import * as shapes from './shapes.ts'

function actionJson({ result, last_error: lastError, ...row }: ActionRow): string {
  const { action, name, queue, key, guarantee, status, attempt, attempts, worker } = row
  const times = { scheduledAt: row.scheduled_at, requestedAt: row.requested_at, endedAt: row.ended_at, nextAttemptAt: row.next_attempt_at }
  return spliced({ action, name, queue, key, guarantee, status, attempt, attempts, worker, ...times }, { lastError, result })
}

export async function actionRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks, partitions } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/executions/:executionId/actions',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'The actions of an execution: attempts, last errors, results, what comes next.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({
        after: z.coerce.number<string>().int().min(0).default(0).describe('Only actions with a larger number.'),
        limit: shapes.limit(1000, 1000),
        minPosition: shapes.minPosition,
      }),
      response: {
        200: z.object({
          actions: z.array(shapes.action),
          next: z.int().nullable().describe('`after` of the next page; null at the end.'),
        }),
        ...answers,
        ...shapes.problems.missing,
      },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      const { after, limit, minPosition } = request.query
      await holdToPosition(request, reply, options, minPosition)
      const partition = partitionOf(executionId, partitions)
      const { value, checkpoints } = await reads.actions(request.tenant, executionId, partition, { after, limit: limit + 1 })
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      const rows = value.slice(0, limit)
      const next = value.length > limit ? rows.at(-1)?.action : null
      return sendJson(reply, `{"actions":[${rows.map(actionJson).join(',')}],"next":${next ?? 'null'}}`)
    },
  })
}
