// [produce] → log → runtime → decisions
//
// What a person asks of an execution: cancel, pause, resume, terminate, retry. Each is an event of its history.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { requestEvent } from '../producers/inputs.ts'
import { eventIdOf, newId } from '../workflow/ids.ts'
import { isTerminalState, type RequestName } from '../workflow/names.ts'
import { partitionOf } from '../workflow/partition.ts'
import { formatPosition } from '../workflow/position.ts'
import type { ApiDeps } from './ports.ts'
import { answers, holdToPosition, missing, type ReadOptions } from './reading.ts'
import { holdToBackOff } from './retry.ts'
import * as shapes from './shapes.ts'

const ASKED: readonly { verb: string; name: RequestName; summary: string }[] = [
  {
    verb: 'cancel',
    name: 'workflow.cancelRequested',
    summary: 'Cancel: what the function waits on is rejected, so that it can undo what it did.',
  },
  {
    verb: 'pause',
    name: 'workflow.pauseRequested',
    summary: 'Pause: events wait in the log until it is resumed; attempts that run go on.',
  },
  { verb: 'resume', name: 'workflow.resumeRequested', summary: 'Resume a paused execution: what came meanwhile is fed in its order.' },
  { verb: 'terminate', name: 'workflow.terminateRequested', summary: 'Terminate: it ends where it stands, without its function.' },
  {
    verb: 'retry',
    name: 'workflow.retryRequested',
    summary: 'Try actions that back off again, now: all, or the one named; 409 where none does.',
  },
]

const body = z
  .strictObject({
    reason: z.string().max(4000).nullish().describe('Why; kept in the history.'),
    user_id: z.string().nullish().describe('Who asks.'),
    action: z.int().min(1).nullish().describe('For retry: decision number of the action.'),
  })
  .nullish()
  .meta({ id: 'ExecutionRequest' })

export async function requestRoutes(scope: FastifyInstance, options: ReadOptions & Pick<ApiDeps, 'appender'>): Promise<void> {
  const { reads, partitions, appender } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()
  for (const { verb, name, summary } of ASKED)
    routes.route({
      method: 'POST',
      url: `/v1/executions/:executionId/${verb}`,
      schema: {
        tags: ['executions'],
        summary,
        headers: z.object({
          prefer: z.string().optional().describe('`wait=N`: wait up to N seconds (at most 60) for `minPosition`.'),
          'idempotency-key': z.string().min(1).max(256).optional().describe('The same key again is the same request.'),
        }),
        params: z.object({ executionId: shapes.executionId }),
        querystring: z.strictObject({ minPosition: shapes.minPosition }),
        body,
        response: { 202: shapes.requested, ...answers, ...shapes.problems.missing, ...shapes.problems.ended },
      },
      handler: async (request, reply) => {
        const { executionId } = request.params
        const { tenant } = request
        await holdToPosition(request, reply, options, request.query.minPosition)
        const { value } = await reads.execution(tenant, executionId, partitionOf(executionId, partitions))
        if (!value) throw missing(executionId)
        if (isTerminalState(value.status)) throw new RefoldError('execution-ended', `execution ${executionId} is ${value.status}`)
        if (value.workflow_version === null && verb !== 'terminate')
          throw new RefoldError('execution-not-driven', `execution ${executionId}`)
        const key = request.headers['idempotency-key']
        const action = request.body?.action ?? undefined
        const id = key === undefined ? newId() : eventIdOf(tenant, executionId, `${verb} ${key}`, 0)
        // The same request again is not judged again: by its first time the action may have gone on.
        const isKnown = async () => key !== undefined && (await reads.contents(tenant, [{ executionId, eventId: id }])).size > 0
        if (verb === 'retry' && !(await isKnown())) await holdToBackOff(options, tenant, executionId, action)
        const event = requestEvent({ tenant, executionId, now: Date.now() }, name, {
          id,
          reason: request.body?.reason ?? null,
          action,
          userId: request.body?.user_id ?? null,
        })
        const position = formatPosition(await appender.append(event))
        void reply.header('refold-position', position)
        void reply.header('location', `/v1/executions/${executionId}/receipts/${event.event_id}?position=${position}`)
        return reply.code(202).send({ event_id: event.event_id, executionId, position, verdict: 'pending' })
      },
    })
}
