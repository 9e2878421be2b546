// GET …/actions and …/diagnosis: what a driven execution does, and why it does not go on.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { ApiDeps } from './ports.ts'
import { addToProgress, noProgress, type Progress } from '../workflow/progress.ts'
import { partitionOf } from '../workflow/partition.ts'
import { diagnose } from './diagnosis.ts'
import { answers, holdToPosition, missing, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

/** Events read at a time. */
const PAGE = 1000

export async function progressRoutes(scope: FastifyInstance, options: ReadOptions & Pick<ApiDeps, 'logEnds'>): Promise<void> {
  const { reads, watermarks, partitions, logEnds } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()

  async function progressOf(tenant: string, executionId: string): Promise<Progress> {
    const progress = noProgress()
    for (let after = 0; ;) {
      const { value } = await reads.history(tenant, executionId, partitionOf(executionId, partitions), { after, limit: PAGE })
      if (!value) throw missing(executionId)
      for (const { appended_at: appendedAt, ...event } of value) addToProgress(progress, { ...event, appendedAt })
      const last = value.at(-1)
      if (!last || value.length < PAGE) return progress
      after = Number(last.seq)
    }
  }

  routes.route({
    method: 'GET',
    url: '/v1/executions/:executionId/actions',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'The actions of an execution: attempts, last errors, what comes next.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({ minPosition: shapes.minPosition }),
      response: { 200: z.object({ actions: z.array(shapes.actionProgress) }), ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      await holdToPosition(request, reply, options, request.query.minPosition)
      const { checkpoints } = await reads.execution(request.tenant, executionId, partitionOf(executionId, partitions))
      watermarks.mark(reply, checkpoints)
      return { actions: [...(await progressOf(request.tenant, executionId)).actions.values()] }
    },
  })

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
      const [progress, standing, ends] = await Promise.all([
        progressOf(tenant, executionId),
        reads.standing(tenant, executionId, partition),
        logEnds().catch(() => new Map<number, number>()),
      ])
      return diagnose({ row: value, progress, standing, partition, logEnd: ends.get(partition), now: Date.now() })
    },
  })
}
