// GET /v1/verdicts: the records that were not accepted, and why.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { RefusalRow } from '../postgres/reads/verdicts.ts'
import { formatPosition } from '../workflow/position.ts'
import { openCursor, sealCursor } from './cursor.ts'
import { answers, holdToPosition, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

const query = z.strictObject({
  verdict: z.enum(['duplicate', 'conflict', 'late', 'early', 'quarantined']).optional(),
  reason: z.string().optional().describe('As wrong-partition, undecodable, other-content.'),
  execution_id: shapes.executionId.optional(),
  limit: shapes.limit(100, 1000),
  cursor: z.string().optional().describe('`nextCursor` of the page before.'),
  minPosition: shapes.minPosition,
})

const cursorShape = z.object({ partition: z.int().min(0), offset: z.int().min(0) })

const shown = ({ partition, log_offset, ...row }: RefusalRow) => ({
  position: formatPosition({ partition, offset: Number(log_offset) }),
  ...row,
})

export async function verdictRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/verdicts',
    schema: {
      ...read,
      tags: ['verdicts'],
      summary: "Records that were not accepted. Those whose tenant can't be read are shown to operators' tokens only.",
      querystring: query,
      response: { 200: z.object({ verdicts: z.array(shapes.refusal), nextCursor: z.string().nullable() }), ...answers },
    },
    handler: async (request, reply) => {
      const { cursor, minPosition, execution_id: executionId, ...filter } = request.query
      const before = cursor === undefined ? undefined : openCursor(cursor, cursorShape)
      await holdToPosition(request, reply, options, minPosition)
      const { value, checkpoints } = await reads.refusals(request.tenant, { ...filter, executionId, before, nobodys: request.operator })
      watermarks.mark(reply, checkpoints)
      const nextCursor = value.next ? sealCursor(value.next) : null
      return reply.send({ verdicts: value.rows.map(shown), nextCursor } as never)
    },
  })
}
