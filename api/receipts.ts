// GET …/receipts/{event_id}: what became of an event that was sent.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import type { ReceiptRow } from '../postgres/reads/receipts.ts'
import { partitionOf } from '../workflow/partition.ts'
import { formatPosition, formatPositions } from '../workflow/position.ts'
import { preferredWait } from './prefer.ts'
import { answers, read, type ReadOptions, sendJson } from './reading.ts'
import * as shapes from './shapes.ts'

function recordOf({ partition, log_offset, verdict, seq, reason, detail, appended_at }: ReceiptRow) {
  return {
    position: formatPosition({ partition, offset: Number(log_offset) }),
    verdict,
    ...(seq === null ? { reason, detail } : { seq: Number(seq) }),
    appended_at,
  }
}

const query = z.strictObject({
  position: shapes.positions
    .optional()
    .describe('Position of the record, as the append answered; `pending` until the recorder has passed it.'),
})

export async function receiptRoutes(scope: FastifyInstance, { reads, watermarks, partitions }: ReadOptions): Promise<void> {
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/executions/:executionId/receipts/:eventId',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'What became of an event that was sent. With `Prefer: wait=N` and its position, once that is decided.',
      params: z.object({ executionId: shapes.executionId, eventId: shapes.executionId.describe('Id of the event.') }),
      querystring: query,
      response: { 200: shapes.receipt, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId, eventId } = request.params
      const { position } = request.query
      const ids = { event_id: eventId, execution_id: executionId }
      const wait = preferredWait(request.headers.prefer)
      if (wait !== undefined && position) void reply.header('preference-applied', `wait=${wait}`)
      const gap = position ? await watermarks.wait(position, (wait ?? 0) * 1000) : []
      if (position && gap.length > 0) {
        watermarks.mark(reply, new Map(gap.map(({ partition, checkpoint }) => [partition, checkpoint])))
        return sendJson(reply, JSON.stringify({ ...ids, verdict: 'pending', position: formatPositions(position), records: [] }))
      }
      const { value, checkpoints } = await reads.receipt(request.tenant, executionId, eventId, partitionOf(executionId, partitions))
      watermarks.mark(reply, checkpoints)
      const records = value.map(recordOf)
      const asked = position && records.find((one) => one.position === formatPositions(position))
      const { appended_at: _, ...main } =
        asked ?? records.find(({ verdict }) => verdict === 'accepted') ?? records.at(-1) ?? nothing(eventId)
      return sendJson(reply, JSON.stringify({ ...ids, ...main, records }))
    },
  })
}

function nothing(eventId: string): never {
  throw new RefoldError('not-found', `no record with event id ${eventId} is judged yet; with its position the answer would be pending`)
}
