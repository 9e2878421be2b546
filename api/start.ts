// [produce] → log → runtime → decisions
//
// POST /v1/executions: starts a workflow. Its input goes into the log byte for byte.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { startedEvent } from '../producers/inputs.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { executionIdOf, executionIdOfRequest, newId } from '../workflow/ids.ts'
import { checkEvent } from '../workflow/limits.ts'
import { formatPosition } from '../workflow/position.ts'
import { type Body, type BodyLimits, holdToBudget, keepBodiesRaw } from './bodies.ts'
import { refuseOtherContent } from './idempotency.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { ProblemError } from './problem.ts'
import { cutMember } from './raw-json.ts'
import { endingJson, type EndWatch } from './result.ts'
import * as shapes from './shapes.ts'

const startShape = z
  .strictObject({
    workflow: z.string().min(1).describe('Name of the workflow.'),
    version: z.string().min(1).nullish().describe('Pinned for its whole life. Without it: the one that the runtimes register.'),
    key: z.string().min(1).max(1000).nullish().describe('Business key: the same key, the same execution.'),
    input: z.unknown().optional().describe('Any JSON value; kept byte for byte.'),
    user_id: z.string().nullish().describe('Who asks.'),
    correlation_id: z.string().nullish().describe('Groups executions that belong together.'),
  })
  .meta({ id: 'Start' })

export type StartOptions = Pick<ApiDeps, 'appender' | 'reads'> & BodyLimits & { ends: EndWatch }

/** How long the versions that runtimes register are remembered, ms. */
const VERSIONS_FRESH = 2000

function readStart(body: Body | undefined): { asked: z.infer<typeof startShape>; input: string } {
  if (!body) throw new RefoldError('request-invalid', 'the body is empty')
  let cut: ReturnType<typeof cutMember>
  let value: unknown
  try {
    cut = cutMember(new TextDecoder('utf-8', { fatal: true }).decode(body.bytes), 'input')
    value = JSON.parse(cut.rest)
    if (cut.source !== undefined) JSON.parse(cut.source)
  } catch (cause) {
    throw new RefoldError('request-invalid', `the body is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
  if (cut.repeated !== undefined) throw new RefoldError('request-invalid', `${cut.repeated} comes twice`)
  const shaped = startShape.safeParse(value)
  if (shaped.success) return { asked: shaped.data, input: cut.source ?? 'null' }
  const errors = shaped.error.issues.map(({ path, message }) => ({ path: `/${path.join('/')}`, message }))
  throw new ProblemError(
    'request-invalid',
    errors.map(({ path, message }) => (path === '/' ? message : `${path.slice(1)}: ${message}`)).join('; '),
    { errors },
  )
}

export async function startRoutes(scope: FastifyInstance, options: StartOptions): Promise<void> {
  const { appender, reads } = options
  const versions = new Map<string, { known: readonly string[]; at: number }>()
  keepBodiesRaw(scope, options.bodyLimit)
  holdToBudget(scope, options)

  async function versionsOf(tenant: string, workflow: string): Promise<readonly string[]> {
    const fresh = versions.get(workflow)
    if (fresh && performance.now() - fresh.at < VERSIONS_FRESH) return fresh.known
    const registered = (await reads.processes(tenant)).flatMap((process) => process.workflows)
    const known = [
      ...new Set(registered.map((one) => one.split('\n')).flatMap(([name, version]) => (name === workflow ? (version ?? '') : []))),
    ]
    if (known.length > 0) versions.set(workflow, { known, at: performance.now() })
    return known
  }

  async function versionOf(tenant: string, workflow: string): Promise<string> {
    const [only, ...others] = await versionsOf(tenant, workflow)
    if (only === undefined) throw new RefoldError('workflow-unknown', workflow)
    if (others.length > 0)
      throw new RefoldError('request-invalid', `${workflow} runs in versions ${[only, ...others].join(', ')}: name one as version`)
    return only
  }

  async function eventOf(request: FastifyRequest): Promise<{ event: WorkflowEvent; workflow: string; version: string }> {
    const { asked, input } = readStart(request.body as Body | undefined)
    const { workflow, key } = asked
    const { tenant } = request
    const version = asked.version ?? (await versionOf(tenant, workflow))
    const idempotencyKey = request.headers['idempotency-key']
    const again = typeof idempotencyKey === 'string' ? executionIdOfRequest(tenant, workflow, idempotencyKey) : newId()
    const executionId = key ? executionIdOf(tenant, workflow, key) : again
    const event = startedEvent({
      tenant,
      executionId,
      now: Date.now(),
      workflow,
      version,
      key: key ?? null,
      input,
      userId: asked.user_id ?? null,
      correlationId: asked.correlation_id ?? null,
    })
    const fault = checkEvent(event)
    if (fault) throw new RefoldError('event-invalid', fault.detail)
    if (key || typeof idempotencyKey === 'string') {
      const [item] = await refuseOtherContent([{ state: 'event', event }], tenant, reads)
      if (item?.state === 'refused')
        throw new RefoldError('idempotency-conflict', `execution ${executionId} was started with something else`)
    }
    return { event, workflow, version }
  }

  async function start(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const { event, workflow, version } = await eventOf(request)
    request.giveBack()
    const { tenant, execution_id: executionId } = event
    const wait = preferredWait(request.headers.prefer)
    // Before the append: the end may come before the answer to it.
    const ended = wait === undefined ? undefined : options.ends.untilEnded(tenant, executionId, wait * 1000)
    const at = await appender.append(event)
    const position = formatPosition(at)
    void reply.header('refold-position', position).header('location', `/v1/executions/${executionId}`)
    if (wait !== undefined) void reply.header('preference-applied', `wait=${wait}`)
    const ending = await ended
    if (ending) return reply.code(200).type('application/json; charset=utf-8').send(endingJson(executionId, ending))
    return reply.code(202).send({ executionId, workflow, version, event_id: event.event_id, position })
  }

  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'POST',
    url: '/v1/executions',
    schema: {
      tags: ['executions'],
      summary: 'Start a workflow; the same business key or Idempotency-Key again starts nothing new.',
      headers: z.object({
        prefer: z.string().optional().describe('`wait=N`: wait up to N seconds (at most 60) for its end; then 200 with the result.'),
        'idempotency-key': z.string().min(1).max(256).optional().describe('The same key again names the same execution.'),
      }),
      body: startShape,
      response: {
        200: shapes.result,
        202: shapes.started,
        ...shapes.problems.invalid,
        ...shapes.problems.auth,
        ...shapes.problems.unknown,
        ...shapes.problems.conflict,
        ...shapes.problems.large,
        ...shapes.problems.away,
      },
    },
    handler: async (request, reply) => {
      request.handled = true
      try {
        await start(request, reply)
        return reply as never
      } finally {
        request.giveBack()
      }
    },
  })
}
