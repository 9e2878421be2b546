// GET /v1/stream: a tenant's accepted events as they come, as server-sent events. The id of each is the positions to go on
// after, so a client that comes back with Last-Event-ID misses nothing.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import type { EventRow } from '../postgres/reads/events.ts'
import { formatPositions, parsePositions } from '../workflow/position.ts'
import { sendLive } from './live.ts'
import { answers, eventJson, type ReadOptions, requirePartitions } from './reading.ts'
import * as shapes from './shapes.ts'

const query = z.strictObject({
  execution_id: shapes.executionId.optional().describe('Of this execution only.'),
  event_name: z.string().optional().describe('Of this name only.'),
  after: shapes.positionsOrNone
    .optional()
    .describe('Go on after these positions; empty: from the first event. Without it, and without Last-Event-ID: from now on.'),
})

const PAGE = 500
const LOOK_EVERY = 200
/** A comment goes out at least so often, ms, so that nobody takes the connection for dead. */
const BEAT = 15_000

type Filter = z.infer<typeof query>

const fits = ({ execution_id, event_name }: Filter, row: EventRow): boolean =>
  (execution_id === undefined || row.execution_id === execution_id) && (event_name === undefined || row.event_name === event_name)

function begin(request: FastifyRequest, { after }: Filter): { name: string; positions: ReadonlyMap<number, number> } | undefined {
  const last = request.headers['last-event-id']
  if (typeof last !== 'string' || last === '') return after && { name: 'after', positions: after }
  const positions = parsePositions(last)
  if (!positions) throw new RefoldError('request-invalid', 'Last-Event-ID is not an id that this stream gave')
  return { name: 'Last-Event-ID', positions }
}

export async function streamRoutes(scope: FastifyInstance, { reads, watermarks, partitions }: ReadOptions): Promise<void> {
  const closing = new AbortController()
  scope.addHook('preClose', async () => closing.abort())

  async function* follow(tenant: string, filter: Filter, from: ReadonlyMap<number, number>, gone: AbortSignal): AsyncGenerator<string> {
    let after = from
    let beaten = performance.now()
    while (!gone.aborted) {
      let more = false
      try {
        const { value } = await reads.eventsAfter(tenant, { after, limit: PAGE })
        const passed = new Map(after)
        for (const row of value.rows) {
          passed.set(row.partition, Number(row.log_offset))
          if (!fits(filter, row)) continue
          beaten = performance.now()
          yield `id: ${formatPositions(passed)}\nevent: ${row.event_name.replaceAll(/[\r\n]/g, ' ')}\ndata: ${eventJson(row)}\n\n`
        }
        after = value.next
        ;({ more } = value)
      } catch (error) {
        // The database is away: the stream stays open and goes on where it was.
        if (!(error instanceof RefoldError && error.retryable)) throw error
      }
      if (more) continue
      if (performance.now() - beaten > BEAT) {
        beaten = performance.now()
        yield ': alive\n\n'
      }
      await pause(LOOK_EVERY, undefined, { signal: gone }).catch(() => undefined)
    }
  }

  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/stream',
    schema: {
      tags: ['events'],
      summary: 'Accepted events as they come: server-sent events, resumable by Last-Event-ID.',
      headers: z.object({ 'last-event-id': z.string().optional().describe('The id of the last event seen: goes on after it.') }),
      querystring: query,
      response: { 200: { description: 'text/event-stream', content: { 'text/event-stream': { schema: z.string() } } }, ...answers },
    },
    handler: async (request, reply) => {
      const filter = request.query
      const begun = begin(request, filter)
      if (begun) requirePartitions(begun.name, begun.positions, partitions)
      const checkpoints = await reads.checkpoints()
      if (begun) await watermarks.requireInLog(begun.name, begun.positions, checkpoints)
      const from = begun?.positions ?? new Map([...checkpoints].map(([partition, next]) => [partition, next - 1]))
      return sendLive(request, reply, 'text/event-stream; charset=utf-8', closing.signal, async function* (gone) {
        yield ': refold\nretry: 1000\n\n'
        yield* follow(request.tenant, filter, from, gone)
      })
    },
  })
}
