// Projections over REST: how they stand, their rows, and what a person asks of them. Each change is an operation on the server.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { type OperationRow, placesOf, type ProjectionRow } from '../postgres/reads/projections.ts'
import { formatPosition, formatPositions } from '../workflow/position.ts'
import { openCursor, sealCursor } from './cursor.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { ProblemError } from './problem.ts'
import { answers, read, type ReadOptions, sendJson } from './reading.ts'
import * as shapes from './shapes.ts'
import { createWatermarks, type Watermarks } from './watermarks.ts'

const params = z.object({ name: z.string().min(1).max(63).describe('Name of the projection.') })

/** The recorder's own tables. */
const DERIVED = 'derived'

function projectionJson(row: ProjectionRow) {
  return {
    name: row.name,
    version: row.version,
    liveGeneration: row.live_generation,
    previousGeneration: row.previous_generation,
    stoppedAt: row.stopped_at,
    generations: row.generations.map(({ made_at: madeAt, parked, ...one }) => ({ ...one, madeAt, parked: parked.map(formatPosition) })),
    lag: row.places.reduce((sum, { next, recorded }) => sum + Math.max(0, recorded - next), 0),
    watermark: formatPositions(placesOf(row)),
    parked: row.places.flatMap(({ partition, parked }) => (parked === null ? [] : [formatPosition({ partition, offset: parked })])),
    tables: row.tables.map(({ name, key, columns, view }) => ({ name, key: [...key], columns: { ...columns }, view })),
    operation: row.operation,
    foldedBy: row.name === DERIVED ? null : row.folded_by,
  }
}

/** Keys of rows are tenants' own: only operators, who see all of them, are shown which differ. */
function comparisonFor(operator: boolean, comparison: OperationRow['comparison']): OperationRow['comparison'] {
  if (operator || comparison === null) return comparison
  const partitions = (comparison['partitions'] as readonly Record<string, unknown>[] | undefined) ?? []
  return { ...comparison, partitions: partitions.map((one) => ({ ...one, shown: [] })) }
}

const operationJson = ({ requested_at, changed_at, ended_at, log, comparison, ...row }: OperationRow, operator: boolean) => ({
  ...row,
  comparison: comparisonFor(operator, comparison),
  log: [...log],
  requestedAt: requested_at,
  changedAt: changed_at,
  endedAt: ended_at,
})

const noProjection = (name: string) => new RefoldError('not-found', `no projection ${name}`)

/** How many of the newest operations are looked through for one that built a generation. */
const LAST_OPERATIONS = 200

/** Records a second of the newest build that caught up, from its log; null: none is known. */
function rateOf(operations: readonly OperationRow[]): number | null {
  for (const { log } of operations) {
    const from = log.find(({ line }) => line.startsWith('building '))
    const to = log.find(({ line }) => line.startsWith('caught up after '))
    if (!from || !to) continue
    const ms = Math.max(1, Date.parse(to.at) - Date.parse(from.at))
    const records = Number(/\d+/.exec(to.line)?.[0] ?? 0)
    if (records > 0) return Math.max(1, Math.round((records * 1000) / ms))
  }
  return null
}

/** Query parameters that are no filters. */
const OWN = new Set(['limit', 'cursor', 'minPosition', 'table'])

export async function projectionRoutes(
  scope: FastifyInstance,
  options: ReadOptions & Pick<ApiDeps, 'projections' | 'logEnds'>,
): Promise<void> {
  const { reads, logEnds, projections, watermarks: ofRecorder } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()

  async function known(tenant: string, name: string): Promise<ProjectionRow> {
    const row = await reads.projection(tenant, name)
    if (!row) throw noProjection(name)
    return row
  }

  /** Of each projection that was waited for: one poll serves all. How far one is is the same for every tenant. */
  const watermarks = new Map<string, Watermarks>()
  scope.addHook('preClose', async () => watermarks.forEach((each) => each.close()))

  async function watermarksOf(tenant: string, name: string): Promise<Watermarks> {
    const row = await known(tenant, name)
    const found = watermarks.get(row.name) ?? createWatermarks({ checkpoints: async () => placesOf(await known(tenant, name)), logEnds })
    watermarks.set(row.name, found)
    return found
  }

  /** Waits until the live generation has folded a position; 412 with the gap otherwise. */
  async function hold(tenant: string, name: string, asked: ReadonlyMap<number, number> | undefined, seconds: number): Promise<void> {
    if (!asked) return
    const gap = await (await watermarksOf(tenant, name)).wait(asked, seconds * 1000)
    if (gap.length === 0) return
    throw new ProblemError(
      'position-not-reached',
      gap.map(({ partition, asked: to, behind }) => `p${partition}:${to} is ${behind} records ahead`).join('; '),
      {
        gap,
      },
    )
  }

  routes.route({
    method: 'GET',
    url: '/v1/projections',
    schema: {
      ...read,
      tags: ['projections'],
      summary: 'Projections: generations, how far each is, what is being done to it.',
      response: { 200: z.object({ projections: z.array(shapes.projection) }), ...answers },
    },
    handler: async ({ tenant }) => ({ projections: (await reads.projections(tenant)).map(projectionJson) }),
  })

  routes.route({
    method: 'GET',
    url: '/v1/projections/:name',
    schema: {
      ...read,
      tags: ['projections'],
      summary: 'One projection as it stands.',
      params,
      response: { 200: shapes.projection, ...answers, ...shapes.problems.missing },
    },
    handler: async ({ tenant, params: { name } }) => projectionJson(await known(tenant, name)),
  })

  routes.route({
    method: 'GET',
    url: '/v1/projections/:name/rows',
    schema: {
      ...read,
      tags: ['projections'],
      summary: "Rows of a projection in order of its key; filters by the key's columns.",
      params,
      querystring: z.looseObject({
        table: z.string().optional().describe('Of a projection with several; its first one otherwise.'),
        limit: shapes.limit(100, 1000),
        cursor: z.string().optional().describe('`nextCursor` of the page before.'),
        minPosition: shapes.minPosition,
      }),
      response: {
        200: z.object({
          rows: z.array(z.looseObject({})),
          nextCursor: z.string().nullable(),
          frozen: z
            .boolean()
            .describe(
              'The newest code that was deployed is of another version: these rows are of the one before, until its generation is promoted.',
            ),
        }),
        ...answers,
        ...shapes.problems.missing,
      },
    },
    handler: async (request, reply) => {
      const { name } = request.params
      const { table, limit, cursor, minPosition, ...rest } = request.query
      const where = Object.fromEntries(
        Object.entries(rest)
          .filter(([key]) => !OWN.has(key))
          .map(([key, value]) => [key, String(value)]),
      )
      const wait = preferredWait(request.headers.prefer)
      if (wait !== undefined && minPosition) void reply.header('preference-applied', `wait=${wait}`)
      await hold(request.tenant, name, minPosition, wait ?? 0)
      const after = cursor === undefined ? undefined : openCursor(cursor, z.array(z.string()))
      const page = await reads.rows(request.tenant, name, { table, where, limit, after })
      if (!page && name === DERIVED) throw new RefoldError('not-found', 'the rows of derived are what /v1/executions shows')
      if (!page) throw noProjection(table === undefined ? name : `${name} with a table ${table}`)
      ofRecorder.mark(reply, page.checkpoints)
      const next = JSON.stringify(page.next ? sealCursor(page.next) : null)
      return sendJson(reply, `{"rows":[${page.rows.join(',')}],"nextCursor":${next},"frozen":${page.frozen}}`)
    },
  })

  routes.route({
    method: 'POST',
    url: '/v1/projections/:name/plan',
    schema: {
      tags: ['projections'],
      summary: 'What a rebuild would do: records to read, what is not sent again. Changes nothing.',
      params,
      response: { 200: shapes.plan, ...answers, ...shapes.problems.missing },
    },
    handler: async ({ tenant, params: { name } }) => {
      const row = await known(tenant, name)
      const records = row.places.reduce((sum, { recorded }) => sum + recorded, 0)
      const rate = rateOf(await reads.operations(tenant, LAST_OPERATIONS, name))
      const bytes = row.live_generation === null ? 0 : await reads.generationSize(tenant, name, row.live_generation)
      return {
        projection: name,
        records,
        rate,
        seconds: rate === null ? null : Math.ceil(records / rate),
        bytes,
        notSentAgain: 'no notification, no action, no timer: a rebuild folds events into rows and does nothing else',
        thenToDo: [`refold projection rebuild ${name}`, `refold projection diff ${name}`, `refold projection promote ${name}`],
      }
    },
  })

  const ASKED = {
    rebuild: 'Build a new generation beside the live one; it stops before promotion.',
    reset: 'Build a new generation and promote it when it has caught up.',
    rollback: 'Make the generation before the live one again.',
    promote: 'Promote the generation that is ready.',
    abort: 'Give the open operation up; what it built is dropped.',
    stop: 'Stop folding; its consumer groups are left empty.',
    start: 'Fold again, after a stop.',
    withdraw: "Say that the newest version's code was taken back: the live generation's version is the newest again.",
    retire: 'Drop a generation that is not live, by default the one before.',
    skip: 'Pass the events at which it is parked.',
  } as const
  type Verb = keyof typeof ASKED
  const KEEPS_REASON: ReadonlySet<Verb> = new Set(['rebuild', 'reset', 'rollback', 'promote', 'abort', 'skip'] as const)

  type Asked = { reason?: string | null | undefined; generation?: number | null | undefined }

  /** Of an operation: it would wait without a word. */
  const whenStopped = async (tenant: string, name: string) =>
    (await known(tenant, name)).stopped_at === null
      ? ''
      : `; it is stopped: nothing of it is folded or promoted until \`refold projection start ${name}\``

  async function stopped(tenant: string, name: string): Promise<string> {
    const { operation } = await known(tenant, name)
    return operation === null ? '' : `; operation ${operation} waits until it is started again`
  }

  async function ask(tenant: string, verb: Verb, name: string, body: Asked) {
    const reason = body.reason ?? 'asked over REST'
    if (body.reason && !KEEPS_REASON.has(verb)) throw new RefoldError('request-invalid', `reason: ${verb} keeps none, leave it out`)
    switch (verb) {
      case 'rebuild':
      case 'reset':
      case 'rollback':
        return {
          detail: `${verb} of ${name} is under way${await whenStopped(tenant, name)}`,
          operation: await projections.open(name, verb, reason),
        }
      case 'promote':
        return {
          detail: `${verb} of ${name} is asked for${await whenStopped(tenant, name)}`,
          operation: await projections.want(name, verb, body.reason ?? undefined),
        }
      case 'abort':
        return { operation: await projections.want(name, verb, body.reason ?? undefined), detail: `${verb} of ${name} is asked for` }
      case 'stop':
        await projections.stop(name, true)
        return { operation: null, detail: `${name} stops within a second or two${await stopped(tenant, name)}` }
      case 'start':
        await projections.stop(name, false)
        return { operation: null, detail: `${name} starts within a second or two` }
      case 'withdraw': {
        const { version, withdrawn } = await projections.withdraw(name)
        return { operation: null, detail: `version ${version} of ${name} is the newest again, ${withdrawn} was taken back` }
      }
      case 'retire': {
        const { generation, outcome } = await projections.retire(name, body.generation ?? undefined)
        const later = outcome === 'busy' ? '; its tables are dropped once nobody reads them' : ''
        return { operation: null, detail: `generation ${generation} of ${name} is gone${later}` }
      }
      case 'skip': {
        if (!body.reason) throw new RefoldError('request-invalid', 'skip needs a reason (`--reason`): why these events may be passed')
        return { operation: null, detail: `${name} passes ${(await projections.skip(name, reason)).join(', ')}` }
      }
      default:
        return verb satisfies never
    }
  }

  for (const [verb, summary] of Object.entries(ASKED) as [Verb, string][])
    routes.route({
      method: 'POST',
      url: `/v1/projections/:name/${verb}`,
      schema: {
        tags: ['projections'],
        summary,
        params,
        body: z
          .strictObject({
            reason: z
              .string()
              .max(1000)
              .refine((text) => !text.includes('\0'), 'holds a NUL character')
              .nullish()
              .describe('Why; kept with the operation, or what is skipped. Of what opens none and skips nothing: refused.'),
            generation: z.int32().min(1).nullish(),
          })
          .nullish()
          .meta({ id: 'ProjectionRequest' }),
        response: {
          202: shapes.asked,
          ...answers,
          ...shapes.problems.forbidden,
          ...shapes.problems.missing,
          ...shapes.problems.impossible,
        },
      },
      handler: async (request, reply) => {
        if (!request.operator) throw new RefoldError('forbidden', `${verb} of ${request.params.name}`)
        const answer = await ask(request.tenant, verb, request.params.name, request.body ?? {})
        request.log.info({ tenant: request.tenant, projection: request.params.name, verb, ...answer }, 'projection asked')
        if (answer.operation !== null) void reply.header('location', `/v1/operations/${answer.operation}`)
        return reply.code(202).send(answer)
      },
    })
}

export async function operationRoutes(scope: FastifyInstance, { reads }: ReadOptions): Promise<void> {
  const routes = scope.withTypeProvider<ZodTypeProvider>()
  routes.route({
    method: 'GET',
    url: '/v1/operations',
    schema: {
      ...read,
      tags: ['projections'],
      summary: 'Operations on projections, the newest first.',
      querystring: z.strictObject({
        limit: shapes.limit(20, 200),
        projection: z.string().min(1).max(63).optional().describe('Of this one only.'),
      }),
      response: { 200: z.object({ operations: z.array(shapes.operation) }), ...answers },
    },
    handler: async ({ tenant, operator, query: { limit, projection } }) => ({
      operations: (await reads.operations(tenant, limit, projection)).map((row) => operationJson(row, operator)),
    }),
  })

  routes.route({
    method: 'GET',
    url: '/v1/operations/:id',
    schema: {
      ...read,
      tags: ['projections'],
      summary: 'One operation: progress, rate, time left, what it compared, every step.',
      params: z.object({ id: z.guid('is not a UUID').describe('Id of the operation.') }),
      response: { 200: shapes.operation, ...answers, ...shapes.problems.missing },
    },
    handler: async ({ tenant, operator, params: { id } }) => {
      const row = await reads.operation(tenant, id)
      if (!row) throw new RefoldError('not-found', `no operation ${id}`)
      return operationJson(row, operator)
    },
  })
}
