// produce → log → recorder → state → [REST]
//
// The REST API: its routes, who may use them, and how errors leave. What lies behind comes in by ports.ts.

import swagger from '@fastify/swagger'
import { fastify, type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { actionRoutes } from './actions.ts'
import { appendRoutes } from './append.ts'
import { authentication } from './authentication.ts'
import type { BodyLimits } from './bodies.ts'
import { createByteBudget } from './budget.ts'
import { docsRoute } from './docs-page.ts'
import { diagnosisRoutes } from './diagnosis-route.ts'
import { executionRoutes } from './executions.ts'
import { feedRoutes } from './feed.ts'
import { healthRoutes, metricsRoute } from './health.ts'
import { receiptRoutes } from './receipts.ts'
import { redriveRoutes } from './redrive.ts'
import { snapshotRoutes } from './snapshots.ts'
import { stateRoutes } from './state.ts'
import { verdictRoutes } from './verdicts.ts'
import { RefoldError } from '../errors.ts'
import { incidentRoutes } from './incidents.ts'
import { changeRoutes } from './changes.ts'
import { operationRoutes, projectionRoutes } from './projections.ts'
import { provenanceRoutes } from './provenance.ts'
import { requestRoutes } from './requests.ts'
import { createEndWatch, type EndWatch, resultRoutes } from './result.ts'
import { startRoutes } from './start.ts'
import { streamRoutes } from './stream.ts'
import { OPENAPI } from './openapi.ts'
import type { ApiDeps } from './ports.ts'
import { createNotFound, errorHandler } from './problem.ts'
import { createWatermarks, type Watermarks } from './watermarks.ts'

export type ApiLimits = {
  /** Largest request body, bytes. */
  bodyBytes: number
  /** Bytes of bodies in the process at once. */
  heldBytes: number
  /** Longest that a request waits for those, ms. */
  heldWait: number
}

const MIB = 1024 * 1024
export const API_LIMITS: ApiLimits = { bodyBytes: 64 * MIB, heldBytes: 128 * MIB, heldWait: 30_000 }

/** What all routes share. */
type Shared = ApiDeps & { watermarks: Watermarks; ends: EndWatch }
type Routes = (scope: FastifyInstance, options: Shared) => Promise<void>
type BodyRoutes = (scope: FastifyInstance, options: Shared & BodyLimits) => Promise<void>

/** Routes whose bodies stay bytes. */
const BODY_ROUTES: readonly BodyRoutes[] = [appendRoutes, startRoutes]

const ROUTES: readonly Routes[] = [
  executionRoutes,
  stateRoutes,
  snapshotRoutes,
  receiptRoutes,
  feedRoutes,
  verdictRoutes,
  redriveRoutes,
  requestRoutes,
  resultRoutes,
  actionRoutes,
  diagnosisRoutes,
  incidentRoutes,
  projectionRoutes,
  provenanceRoutes,
  changeRoutes,
  operationRoutes,
  streamRoutes,
]

/** An API that does not listen yet. Closing it ends all waits. */
export function createApi(deps: ApiDeps, logger?: FastifyBaseLogger, limits: ApiLimits = API_LIMITS): FastifyInstance {
  const options = {
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyBytes,
    requestTimeout: 300_000,
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: errorHandler,
  }
  const app: FastifyInstance = fastify(logger ? { ...options, loggerInstance: logger } : options)
  const watermarks = createWatermarks({ checkpoints: () => deps.reads.checkpoints(), logEnds: deps.logEnds })
  const ends = createEndWatch(deps)
  const budget = createByteBudget(limits.heldBytes, limits.heldWait)
  app.decorateRequest('tenant', '')
  app.decorateRequest('operator', false)
  app.setErrorHandler(errorHandler)
  app.setNotFoundHandler(createNotFound(app))
  app.addHook('onRequest', async ({ url }) => {
    if (url.includes('%00')) throw new RefoldError('request-invalid', 'the address holds a NUL character (%00), which no name or value has')
  })
  app.addHook('onResponse', async (request, reply) => {
    const { url: route = 'none' } = request.routeOptions
    deps.answered?.({ method: request.method, route, status: reply.statusCode, ms: reply.elapsedTime })
  })
  app.addHook('preClose', async () => {
    watermarks.close()
    ends.close()
  })
  void app.register(swagger, OPENAPI)
  // The compilers of zod only for routes of ours: plugins bring schemas in plain JSON.
  void app.register(async (open) => {
    open.setValidatorCompiler(validatorCompiler)
    open.setSerializerCompiler(serializerCompiler)
    void open.register(healthRoutes, deps)
    void open.register(metricsRoute, deps)
    open.withTypeProvider<ZodTypeProvider>().route({
      method: 'GET',
      url: '/openapi.json',
      schema: { tags: ['api'], summary: 'This API, as OpenAPI 3.1.', security: [], response: { 200: z.looseObject({}) } },
      handler: async () => ({ ...app.swagger() }),
    })
    void open.register(docsRoute, { document: () => app.swagger() })
    void open.register(async (guarded) => {
      guarded.addHook('onRequest', authentication(deps))
      for (const routes of BODY_ROUTES) void guarded.register(routes, { ...deps, watermarks, ends, budget, bodyLimit: limits.bodyBytes })
      for (const routes of ROUTES) void guarded.register(routes, { ...deps, watermarks, ends })
    })
  })
  return app
}
