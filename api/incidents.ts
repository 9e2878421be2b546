// GET /v1/incidents: what needs a person.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { openCursor, sealCursor } from './cursor.ts'
import { answers, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

const cursorShape = z.object({ openedAt: z.string(), id: z.string() })

export async function incidentRoutes(scope: FastifyInstance, { reads, watermarks }: ReadOptions): Promise<void> {
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/incidents',
    schema: {
      ...read,
      tags: ['incidents'],
      summary: 'What needs a person, the newest first; closed by itself once it is mended.',
      querystring: z.strictObject({
        state: z.enum(['open', 'closed', 'all']).default('open'),
        limit: shapes.limit(50, 500),
        cursor: z.string().optional().describe('`nextCursor` of the page before.'),
      }),
      response: { 200: z.object({ incidents: z.array(shapes.incident), nextCursor: z.string().nullable() }), ...answers },
    },
    handler: async (request, reply) => {
      const { state, limit, cursor } = request.query
      const after = cursor === undefined ? undefined : openCursor(cursor, cursorShape)
      watermarks.mark(reply, await reads.checkpoints())
      const rows = await reads.incidents(request.tenant, request.operator, { state, limit: limit + 1, after })
      const shown = rows.slice(0, limit)
      const last = shown.at(-1)
      return {
        incidents: shown.map(({ id, kind, execution_id, partition, summary, evidence, opened_at, closed_at }) => ({
          id,
          kind,
          executionId: execution_id,
          partition,
          summary,
          evidence,
          openedAt: opened_at,
          closedAt: closed_at,
        })),
        nextCursor: rows.length > limit && last ? sealCursor({ openedAt: last.opened_at, id: last.id }) : null,
      }
    },
  })
}
