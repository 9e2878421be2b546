// Whose request it is: the tenant comes from the credential only.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { RefoldError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Tenant of the request's token; '' on routes that need none. */
    tenant: string
  }
}

const digest = (token: string) => createHash('sha256').update(token).digest()

const BEARER = /^Bearer +([^\s]+) *$/i

/** An onRequest hook that takes the tenant from `Authorization: Bearer <token>`; `tokens`: token → tenant. */
export function authentication(tokens: ReadonlyMap<string, string>) {
  const known = [...tokens].map(([token, tenant]) => ({ digest: digest(token), tenant }))

  /** Compares with every token, in constant time, so that the time taken tells nothing. */
  function tenantOf(token: string): string | undefined {
    const asked = digest(token)
    let found: string | undefined
    for (const one of known) if (timingSafeEqual(one.digest, asked)) found = one.tenant
    return found
  }

  return async function authenticate(request: FastifyRequest, _reply: FastifyReply): Promise<void> {
    const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined) throw new RefoldError('unauthenticated', 'no bearer token was sent')
    const tenant = tenantOf(token)
    if (tenant === undefined) throw new RefoldError('unauthenticated', 'the token is not known here')
    request.tenant = tenant
  }
}
