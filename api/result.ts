// GET …/result: how an execution ended. Who waits is told by the runtime of this process, before Postgres has it, or by the
// reads.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import type { ExecutionRow } from '../postgres/reads/executions.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { isTerminalState } from '../workflow/names.ts'
import { partitionOf } from '../workflow/partition.ts'
import { formatPosition } from '../workflow/position.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { cutMember } from './raw-json.ts'
import { answers, holdToPosition, missing, read, type ReadOptions, sendJson, spliced } from './reading.ts'
import * as shapes from './shapes.ts'

/** How an execution stands: status, and result and error as JSON text. */
export type Standing = { status: string; result: string | null; error: string | null; position?: string }

type Waiting = Pick<ApiDeps, 'reads' | 'endings' | 'partitions'>

/** Between two looks at the database, ms. */
const LOOK = { first: 25, most: 250 }

const STATUS: Readonly<Record<string, string>> = {
  'workflow.completed': 'completed',
  'workflow.failed': 'failed',
  'workflow.cancelled': 'cancelled',
  'workflow.terminateRequested': 'terminated',
}

function endingOf(event: WorkflowEvent, position: string): Standing {
  const status = STATUS[event.event_name] ?? event.to_state
  const member = (name: string) => (event.payload === null ? null : (cutMember(event.payload, name).source ?? null))
  return { status, result: status === 'completed' ? member('result') : null, error: member('error'), position }
}

const standingOf = ({ status, result, error, partition, last_offset: offset }: ExecutionRow): Standing => ({
  status,
  result,
  error,
  position: formatPosition({ partition, offset: Number(offset) }),
})

/** Resolves with the end, or undefined when the signal aborts first. */
export async function untilEnded(
  { reads, endings, partitions }: Waiting,
  tenant: string,
  executionId: string,
  late: AbortSignal,
): Promise<Standing | undefined> {
  const done = new AbortController()
  const over = AbortSignal.any([late, done.signal])
  const told = endings.wait(tenant, executionId, over).then((ending) => ending && endingOf(ending.event, formatPosition(ending)))
  const seen = async (): Promise<Standing | undefined> => {
    for (let wait = LOOK.first; !over.aborted; wait = Math.min(2 * wait, LOOK.most)) {
      await pause(wait, undefined, { signal: over }).catch(() => undefined)
      if (over.aborted) return undefined
      const found = await reads.execution(tenant, executionId, partitionOf(executionId, partitions)).catch((error: unknown) => {
        // The end may still be told by the runtime.
        if (error instanceof RefoldError && error.code === 'database-unavailable') return undefined
        throw error
      })
      if (found?.value && isTerminalState(found.value.status)) return standingOf(found.value)
    }
    return undefined
  }
  try {
    return await Promise.race([told, seen()])
  } finally {
    done.abort()
  }
}

export const endingJson = (executionId: string, { status, result, error, position }: Standing): string =>
  spliced({ executionId, status, ...(position === undefined ? {} : { position }) }, { result, error })

export async function resultRoutes(scope: FastifyInstance, options: ReadOptions & Pick<ApiDeps, 'endings'>): Promise<void> {
  const { reads, watermarks, partitions } = options
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/executions/:executionId/result',
    schema: {
      ...read,
      tags: ['executions'],
      summary: 'How an execution ended. With `Prefer: wait=N`, once it has; 202 while it runs.',
      params: z.object({ executionId: shapes.executionId }),
      querystring: z.strictObject({ minPosition: shapes.minPosition }),
      response: { 200: shapes.result, 202: shapes.result, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { executionId } = request.params
      const { tenant } = request
      const wait = preferredWait(request.headers.prefer)
      // Asked before the first look: an end in between is not missed.
      const late = AbortSignal.timeout((wait ?? 0) * 1000)
      const ended = wait === undefined ? undefined : untilEnded(options, tenant, executionId, late)
      ended?.catch(() => undefined)
      if (wait === undefined) await holdToPosition(request, reply, options, request.query.minPosition)
      const { value, checkpoints } = await reads.execution(tenant, executionId, partitionOf(executionId, partitions))
      watermarks.mark(reply, checkpoints)
      if (value && isTerminalState(value.status)) return sendJson(reply, endingJson(executionId, standingOf(value)))
      if (!value && wait === undefined) throw missing(executionId)
      if (wait !== undefined) void reply.header('preference-applied', `wait=${wait}`)
      const ending = await ended
      if (ending) return sendJson(reply, endingJson(executionId, ending))
      const { value: now } = await reads.execution(tenant, executionId, partitionOf(executionId, partitions))
      if (!now) throw missing(executionId)
      void reply.header('retry-after', 1)
      return sendJson(reply.code(202), endingJson(executionId, standingOf(now)))
    },
  })
}
