// Whose request it is: the tenant comes from the credential only.

import { hash, timingSafeEqual } from 'node:crypto'
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

const digest = (token: string) => hash('sha256', token, 'buffer')

const BEARER = /^Bearer +([^\s]+) *$/i

type Credential = { digest: Buffer; tenant: string; operator: boolean }

/** An onRequest hook that takes the tenant from `Authorization: Bearer <token>`; `tokens`: token → tenant. */
export function authentication(tokens: ReadonlyMap<string, string>, operators: ReadonlySet<string> = new Set()) {
  const known = [...tokens].map(([token, tenant]): Credential => ({ digest: digest(token), tenant, operator: operators.has(token) }))

  /** Compares with every token, in constant time, so that the time taken tells nothing. */
  function credentialOf(token: string): Credential | undefined {
    const asked = digest(token)
    let found: Credential | undefined
    for (const one of known) if (timingSafeEqual(one.digest, asked)) found = one
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
