// GET …/diagnosis: why an execution stands where it stands.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ApiDeps } from './ports.ts'
import { partitionOf } from '../workflow/partition.ts'
import { diagnose } from './diagnosis.ts'
import { answers, holdToPosition, missing, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

/** Longest that an answer waits for a recorder that is behind the end of the log, ms. */
const RECORDED_WITHIN = 1000

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
      const now = Date.now()
      // What the log held when it was asked is recorded first: or the runtime would be blamed for what only waits for the recorder.
      const logEnd = (await logEnds().catch(() => new Map<number, number>())).get(partition)
      if (logEnd !== undefined && logEnd > 0) await watermarks.wait(new Map([[partition, logEnd - 1]]), RECORDED_WITHIN)
      const { value, checkpoints } = await reads.execution(tenant, executionId, partition)
      watermarks.mark(reply, checkpoints)
      if (!value) throw missing(executionId)
      const [open, standing] = await Promise.all([reads.openWork(tenant, executionId), reads.standing(tenant, executionId, partition)])
      return diagnose({ row: value, open, standing, partition, logEnd, now })
    },
  })
}
