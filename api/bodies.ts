// Bodies of POSTs: kept as bytes, and only so many of them at a time.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { validatorCompiler } from 'fastify-type-provider-zod'
import type { z } from 'zod'
import type { ByteBudget } from './budget.ts'

export type BodyLimits = {
  budget: ByteBudget
  /** Largest body, bytes. */
  bodyLimit: number
}

/** A body as it came, and what its content type says of it. */
export type Body = { bytes: Uint8Array; format: 'array' | 'lines' }

declare module 'fastify' {
  interface FastifyRequest {
    /** Gives the bytes of this request's body back to the budget. */
    giveBack: () => void
    /** The body is in the hands of its route, which gives the bytes back. */
    handled: boolean
  }
}

/** Bodies stay bytes; the routes cut them. The shapes of bodies are for /openapi.json only. */
export function keepBodiesRaw(scope: FastifyInstance, bodyLimit: number): void {
  const raw =
    (format: Body['format']) =>
    async (_request: FastifyRequest, bytes: Buffer): Promise<Body> => ({ bytes, format })
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('application/json', { parseAs: 'buffer', bodyLimit }, raw('array'))
  scope.addContentTypeParser(['application/x-ndjson', 'application/jsonl'], { parseAs: 'buffer', bodyLimit }, raw('lines'))
  scope.setValidatorCompiler((route) =>
    route.httpPart === 'body' ? (value) => ({ value }) : validatorCompiler({ ...route, schema: route.schema as z.ZodType }),
  )
}

/** A body is read only when the budget has room for it; a body of unknown length counts as the largest. */
export function holdToBudget(scope: FastifyInstance, { budget, bodyLimit }: BodyLimits): void {
  scope.decorateRequest('giveBack', () => undefined)
  scope.decorateRequest('handled', false)
  scope.addHook('onRequest', async (request, reply) => {
    const length = Number(request.headers['content-length'] ?? bodyLimit)
    if (length > bodyLimit) return
    request.giveBack = await budget.take(length)
    // A sender who goes away before its body was read. `close` of the answer: that of the request comes with its body's end.
    const abandoned = () => request.handled || request.giveBack()
    reply.raw.once('close', abandoned)
    if (reply.raw.destroyed) abandoned()
  })
}
