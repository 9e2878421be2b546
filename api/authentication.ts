// Whose request it is: the tenant comes from the credential only.

import { timingSafeEqual } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { RefoldError } from '../errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Tenant of the request's token; '' on routes that need none. */
    tenant: string
    /** The token is an operator's. */
    operator: boolean
  }
}

const BEARER = /^Bearer +([^\s]+) *$/i

type Credential = { token: Buffer; tenant: string; operator: boolean }

/** An onRequest hook that takes the tenant from `Authorization: Bearer <token>`; `tokens`: token → tenant. */
export function authentication(tokens: ReadonlyMap<string, string>, operators: ReadonlySet<string> = new Set()) {
  const known = [...tokens].map(([token, tenant]): Credential => ({ token: Buffer.from(token), tenant, operator: operators.has(token) }))

  /** Compares with every token, in constant time, so that the time taken tells nothing but how long a token is. */
  function credentialOf(token: string): Credential | undefined {
    const asked = Buffer.from(token)
    let found: Credential | undefined
    for (const one of known) if (one.token.length === asked.length && timingSafeEqual(one.token, asked)) found = one
    return found
  }

  return async function authenticate(request: FastifyRequest, _reply: FastifyReply): Promise<void> {
    const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined) throw new RefoldError('unauthenticated', 'no bearer token was sent')
    const credential = credentialOf(token)
    if (credential === undefined) throw new RefoldError('unauthenticated', 'the token is not known here')
    request.tenant = credential.tenant
    request.operator = credential.operator
  }
}
