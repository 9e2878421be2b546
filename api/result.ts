// GET …/result: how an execution ended. Who waits is told by the runtime of this process, before Postgres has it, or by the
// reads.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
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
const LOOK_EVERY = 50
/** An end that a runtime of this process should tell is looked for too, every so many ms: it may have left meanwhile. */
const TOLD_WITHIN = 2000

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

type Watched = { tenant: string; executionId: string; since: number; told: boolean; seen: (standing: Standing | undefined) => void }

/**
 * Who waits for ends: told by the runtime of this process at once, else found by looking, with one question for all that wait
 * in a tenant.
 */
export type EndWatch = {
  /** Resolves with the end, or undefined when there is none within so many ms. */
  untilEnded(tenant: string, executionId: string, ms: number): Promise<Standing | undefined>
  close(): void
}

export function createEndWatch({ reads, endings, partitions }: Waiting): EndWatch {
  const waiting = new Set<Watched>()
  const closing = new AbortController()
  let looking = false

  async function lookAt(tenant: string, all: readonly Watched[]): Promise<void> {
    const rows = await reads.ended(
      tenant,
      all.map(({ executionId }) => executionId),
    )
    for (const row of rows) for (const one of all) if (one.executionId === row.execution_id) one.seen(standingOf(row))
  }

  async function look(): Promise<void> {
    looking = true
    while (waiting.size > 0 && !closing.signal.aborted) {
      await pause(LOOK_EVERY, undefined, { signal: closing.signal }).catch(() => undefined)
      const now = performance.now()
      const due = [...waiting].filter(({ told, since }) => !told || now - since > TOLD_WITHIN)
      for (const [tenant, all] of Map.groupBy(due, (one) => one.tenant)) {
        // Away: it may still be told by the runtime, and is looked for again.
        await lookAt(tenant, all).catch(() => undefined)
        for (const one of all) one.since = one.told ? now : one.since
      }
    }
    looking = false
  }

  return {
    async untilEnded(tenant, executionId, ms) {
      if (closing.signal.aborted) return undefined
      const { promise, resolve } = Promise.withResolvers<Standing | undefined>()
      const told = endings.tells(partitionOf(executionId, partitions))
      const one: Watched = { tenant, executionId, since: performance.now(), told, seen: resolve }
      waiting.add(one)
      if (!looking) void look()
      const leave = endings.listen(tenant, executionId, (ending) => resolve(endingOf(ending.event, formatPosition(ending))))
      const late = setTimeout(() => resolve(undefined), ms)
      try {
        return await promise
      } finally {
        waiting.delete(one)
        leave()
        clearTimeout(late)
      }
    },
    close() {
      closing.abort()
      for (const { seen } of waiting) seen(undefined)
    },
  }
}

export const endingJson = (executionId: string, { status, result, error, position }: Standing): string =>
  spliced({ executionId, status, ...(position === undefined ? {} : { position }) }, { result, error })

export async function resultRoutes(scope: FastifyInstance, options: ReadOptions & { ends: EndWatch }): Promise<void> {
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
      const ended = wait === undefined ? undefined : options.ends.untilEnded(tenant, executionId, wait * 1000)
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
