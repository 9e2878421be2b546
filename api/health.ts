// /livez: the process answers. /readyz: each part of it, and 503 when one is not ready. /metrics: its numbers.
// Without a token: part of the API, and served by themselves where a process has none (REFOLD_HEALTH_PORT).

import { fastify, type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { asError } from '../errors.ts'
import type { ApiDeps, Part } from './ports.ts'
import { createNotFound, errorHandler } from './problem.ts'
import { readyAnswer } from './shapes.ts'

async function look(readiness: ApiDeps['readiness']): Promise<readonly Part[]> {
  try {
    return await readiness()
  } catch (error) {
    return [{ name: 'readiness', ready: false, detail: asError(error).message }]
  }
}

export async function healthRoutes(scope: FastifyInstance, { readiness }: Pick<ApiDeps, 'readiness'>): Promise<void> {
  const routes = scope.withTypeProvider<ZodTypeProvider>()

  routes.route({
    method: 'GET',
    url: '/livez',
    schema: { tags: ['health'], summary: 'The process answers.', security: [], response: { 200: z.object({ status: z.literal('live') }) } },
    handler: async () => ({ status: 'live' as const }),
  })

  routes.route({
    method: 'GET',
    url: '/readyz',
    schema: {
      tags: ['health'],
      summary: 'Each part of the process; 503 when one is not ready.',
      security: [],
      response: { 200: readyAnswer, 503: readyAnswer },
    },
    handler: async (_request, reply) => {
      const parts = await look(readiness)
      const ready = parts.every((part) => part.ready)
      const byName = parts.map(({ name, ...part }) => [name, part] as const)
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not-ready', parts: Object.fromEntries(byName) })
    },
  })
}

export async function metricsRoute(scope: FastifyInstance, { metrics }: Pick<ApiDeps, 'metrics'>): Promise<void> {
  if (!metrics) return
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/metrics',
    schema: {
      tags: ['health'],
      summary: 'Numbers of the process, for Prometheus.',
      security: [],
      response: { 200: { description: 'Prometheus text format.', content: { 'text/plain': { schema: z.string() } } } },
    },
    handler: async (_request, reply) => reply.type(metrics.contentType).send(await metrics.metrics()),
  })
}

/** A server of these three alone, that does not listen yet. */
export function createHealth(deps: Pick<ApiDeps, 'readiness' | 'metrics'>, logger: FastifyBaseLogger): FastifyInstance {
  const app: FastifyInstance = fastify({ logController: new LogController({ disableRequestLogging: true }), loggerInstance: logger })
  app.setErrorHandler(errorHandler)
  app.setNotFoundHandler(createNotFound(app))
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  void app.register(healthRoutes, deps)
  void app.register(metricsRoute, deps)
  return app
}
