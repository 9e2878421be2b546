// GET …/state: an execution as it was, at a seq or at a moment.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { partitionOf } from '../workflow/partition.ts'
import { answers, holdToPosition, missing, read, type ReadOptions, sendJson } from './reading.ts'
import * as shapes from './shapes.ts'

const query = z
  .strictObject({
    seq: z.coerce.number<string>().int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('After the event with this seq.'),
    at: shapes.time.optional().describe('At this moment of business time: the longest prefix whose created_at are all at or before it.'),
    recordedAt: shapes.time.optional().describe('At this moment by append time.'),
    minPosition: shapes.minPosition,
  })
  .refine(({ seq, at, recordedAt }) => [seq, at, recordedAt].filter((one) => one !== undefined).length <= 1, {
    error: 'give one of seq, at and recordedAt',
  })

function untilOf({ seq, at, recordedAt }: z.infer<typeof query>) {
  if (seq !== undefined) return { replayUntil: seq }
  if (at !== undefined) return { replayUntil: new Date(at) }
  return recordedAt === undefined ? {} : { recordedUntil: new Date(recordedAt) }
}

export async function stateRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks, partitions } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/executions/:executionId/state',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'An execution as it was: replayed up to a seq, a moment, or now.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: query,
      response: { 200: shapes.pastState, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      await holdToPosition(request, reply, options, request.query.minPosition)
      const found = await reads.state(request.tenant, executionId, untilOf(request.query))
      if (!found) throw missing(executionId)
      const partition = partitionOf(executionId, partitions)
      watermarks.mark(reply, new Map([[partition, found.checkpoints.get(partition) ?? 0]]))
      const { seq: asked } = request.query
      if (asked !== undefined && found.seq < asked)
        throw new RefoldError('not-found', `execution ${executionId} has ${found.seq} events, not ${asked}`)
      const { tenant, status, currentState, data, seq, workflow, version, key, correlationId, result, error, isComplete } = found
      const state = {
        executionId,
        tenant,
        status,
        currentState,
        data,
        seq,
        workflow,
        version,
        key,
        correlationId,
        result,
        error,
        isComplete,
      }
      // Numbers that a double can't hold are JSON.rawJSON in `data`: written as they were.
      return sendJson(reply, JSON.stringify(state))
    },
  })
}
