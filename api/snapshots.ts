// GET …/snapshots: the kept states of an execution, for whoever wonders why a replay is slow.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { partitionOf } from '../workflow/partition.ts'
import { answers, holdToPosition, missing, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

export async function snapshotRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks, partitions } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/executions/:executionId/snapshots',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'Snapshots kept of an execution, the newest first. They change the speed of a replay, never its answer.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({ minPosition: shapes.minPosition }),
      response: { 200: z.object({ snapshots: z.array(shapes.snapshot) }), ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      await holdToPosition(request, reply, options, request.query.minPosition)
      const { value, checkpoints } = await reads.snapshots(request.tenant, executionId, partitionOf(executionId, partitions))
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      return { snapshots: [...value] }
    },
  })
}
