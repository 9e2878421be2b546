// GET /v1/events: a tenant's accepted events from any position on, for readers that catch up.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { formatPositions } from '../workflow/position.ts'
import { answers, eventJson, holdToPosition, read, type ReadOptions, requirePartitions, sendJson } from './reading.ts'
import * as shapes from './shapes.ts'

const query = z.strictObject({
  after: shapes.positionsOrNone
    .optional()
    .describe('Go on after these positions: `next` of the page before, or the last ones seen. Without it, or empty, from the first event.'),
  limit: shapes.limit(500, 5000),
  minPosition: shapes.minPosition,
})

const page = z.object({
  events: z.array(shapes.historyEvent).describe('In the order of the log within each partition.'),
  next: z.string().describe('`after` of the next page.'),
  more: z.boolean().describe('There is more now.'),
})

export async function feedRoutes(scope: FastifyInstance, options: ReadOptions): Promise<void> {
  const { reads, watermarks } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/events',
    schema: {
      ...read,
      tags: ['events'],
      summary: 'Accepted events of all executions, from a position on.',
      querystring: query,
      response: { 200: page, ...answers },
    },
    handler: async (request, reply) => {
      const { after = new Map<number, number>(), limit, minPosition } = request.query
      requirePartitions('after', after, options.partitions)
      await holdToPosition(request, reply, options, minPosition)
      const { value, checkpoints } = await reads.eventsAfter(request.tenant, { after, limit })
      await watermarks.requireInLog('after', after, checkpoints)
      watermarks.mark(reply, checkpoints)
      const events = value.rows.map(eventJson).join(',')
      return sendJson(reply, `{"events":[${events}],"next":${JSON.stringify(formatPositions(value.next))},"more":${value.more}}`)
    },
  })
}
