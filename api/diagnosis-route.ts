// GET …/diagnosis: why an execution stands where it stands.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ApiDeps } from './ports.ts'
import { partitionOf } from '../workflow/partition.ts'
import { diagnose } from './diagnosis.ts'
import { answers, holdToPosition, missing, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

export async function diagnosisRoutes(scope: FastifyInstance, options: ReadOptions & Pick<ApiDeps, 'logEnds'>): Promise<void> {
  const { reads, watermarks, partitions, logEnds } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()
  routes.route({
    method: 'GET',
    url: '/v1/executions/:executionId/diagnosis',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'Why an execution stands where it stands: one cause with its evidence, what happens by itself, what you can do.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({ minPosition: shapes.minPosition }),
      response: { 200: shapes.diagnosis, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      const { tenant } = request
      const partition = partitionOf(executionId, partitions)
      await holdToPosition(request, reply, options, request.query.minPosition)
      const { value, checkpoints } = await reads.execution(tenant, executionId, partition)
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      const [open, standing, ends] = await Promise.all([
        reads.openWork(tenant, executionId),
        reads.standing(tenant, executionId, partition),
        logEnds().catch(() => new Map<number, number>()),
      ])
      return diagnose({ row: value, open, standing, partition, logEnd: ends.get(partition), now: Date.now() })
    },
  })
}
