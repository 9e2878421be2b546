// Whose request it is: the tenant comes from the credential only.

import { timingSafeEqual } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { RefoldError } from '../errors.ts'
import { type Credential, looksLikeJwt } from './jwt.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Tenant of the request's token; '' on routes that need none. */
    tenant: string
    /** The token is an operator's. */
    operator: boolean
  }
}

const BEARER = /^Bearer +([^\s]+) *$/i

type Known = Credential & { token: Buffer }

export type Credentials = {
  /** API token → tenant. */
  tokens: ReadonlyMap<string, string>
  /** Those of the tokens that are operators': they also see records which belong to no tenant. */
  operators?: ReadonlySet<string>
  /** Whose a JSON Web Token is; without it, none is taken. */
  jwt?: ((token: string) => Promise<Credential>) | undefined
}

/** An onRequest hook that takes the tenant from `Authorization: Bearer <token>`: one of the tokens, or a JWT. */
export function authentication({ tokens, operators = new Set(), jwt }: Credentials) {
  const known = [...tokens].map(([token, tenant]): Known => ({ token: Buffer.from(token), tenant, operator: operators.has(token) }))

  /** Compares with every token, in constant time, so that the time taken tells nothing but how long a token is. */
  function tokenOf(token: string): Known | undefined {
    const asked = Buffer.from(token)
    let found: Known | undefined
    for (const one of known) if (one.token.length === asked.length && timingSafeEqual(one.token, asked)) found = one
    return found
  }

  return async function authenticate(request: FastifyRequest, _reply: FastifyReply): Promise<void> {
    const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined) throw new RefoldError('unauthenticated', 'no bearer token was sent')
    const credential = tokenOf(token) ?? (jwt && looksLikeJwt(token) ? await jwt(token) : undefined)
    if (credential === undefined) throw new RefoldError('unauthenticated', 'the token is not known here')
    request.tenant = credential.tenant
    request.operator = credential.operator
  }
}
