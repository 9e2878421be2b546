// /livez: the process answers. /readyz: each part of it, and 503 when one is not ready.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { asError } from '../errors.ts'
import type { ApiDeps, Part } from './ports.ts'
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
