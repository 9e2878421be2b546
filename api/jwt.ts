// Who a JSON Web Token stands for: signed by a key of the issuer's JWKS, for us, not expired, with the tenant in a claim.
//
// J1  Only signatures by asymmetric keys count, and only of keys that the JWKS holds: `none` and shared secrets never do.
// J2  Tenant and operator come from the claims named in the settings; a token without a tenant is no credential.
// J3  A key server that is away refuses nobody whose key is known: keys are fetched again beside the requests. An unknown key
//     is looked for at once, at most every COOLDOWN, so that a new key works when its first token comes.

import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify, type JWTVerifyOptions, type RemoteJWKSet } from 'jose'
import { LRUCache } from 'lru-cache'
import { asError, RefoldError } from '../errors.ts'
import { isTenant } from '../workflow/limits.ts'

/** Who asks. */
export type Credential = { tenant: string; operator: boolean }

export type JwtSettings = {
  jwksUrl: string
  issuer: string
  audience: string
  tenantClaim: string
  /** `claim`: is true; `claim=word`: is that word, or a list (array, or with spaces) that has it. Without: nobody. */
  operatorClaim?: string | undefined
}

type Timing = {
  /** Between two looks for a key that is not known, ms. */
  cooldown?: number
  /** After which the keys are fetched again, ms. */
  refreshAfter?: number
  /** Longest that a verified token is not verified again, ms; a key taken out of the JWKS counts for so long at most. */
  remembered?: number
}

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
const COOLDOWN = 5000
const FETCH_TIMEOUT = 5000
const REFRESH_AFTER = 600_000
const REMEMBERED = 60_000
const MOST_REMEMBERED = 10_000
/** Seconds that clocks may differ. */
const CLOCK_TOLERANCE = 30

/** A text of the shape of a JWT; whether it is one, `verify` says. */
export const looksLikeJwt = (token: string) => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)

const refused = (detail: string, cause?: unknown) => new RefoldError('unauthenticated', detail, { cause })

/** Why jose refused a token, in words that tell its owner what to mend; undefined: the token is not to blame. */
function refusal(error: unknown, { issuer, audience }: JwtSettings): string | undefined {
  if (error instanceof errors.JWTExpired) return 'the token has expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return `the token is not of the issuer ${issuer}`
    if (error.claim === 'aud') return `the token is not for the audience ${audience}`
    if (error.claim === 'nbf') return 'the token is not valid yet'
    return `the token's claim ${error.claim} is missing or not valid`
  }
  if (error instanceof errors.JWKSNoMatchingKey) return 'the token is signed by a key that the issuer does not publish (any more)'
  if (error instanceof errors.JWSSignatureVerificationFailed) return "the token's signature is not of the key it names"
  if (error instanceof errors.JOSEAlgNotAllowed) return "the token's algorithm is not one of asymmetric keys"
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid || error instanceof errors.JOSENotSupported)
    return 'the token is not a JSON Web Token that can be read'
  return undefined
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : typeof value === 'string' ? value.split(' ') : [])

function isOperator(payload: JWTPayload, claim: string | undefined): boolean {
  if (claim === undefined) return false
  const at = claim.lastIndexOf('=')
  return at < 0 ? payload[claim] === true : listOf(payload[claim.slice(0, at)]).includes(claim.slice(at + 1))
}

/** Verified by any of the keys that fit; a token without `kid` may fit several. */
async function verified(token: string, keys: RemoteJWKSet, options: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keys, options)).payload
  } catch (several) {
    if (!(several instanceof errors.JWKSMultipleMatchingKeys)) throw several
    for await (const key of several) {
      try {
        return (await jwtVerify(token, key, options)).payload
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
      }
    }
    throw new errors.JWSSignatureVerificationFailed()
  }
}

/**
 * Answers whose a token is. Rejects with `unauthenticated`, saying why, or with `keys-unavailable` while the key server is
 * away and the token's key is not known.
 */
export function jwtCredentials(settings: JwtSettings, timing: Timing = {}): (token: string) => Promise<Credential> {
  const { issuer, audience, tenantClaim, operatorClaim } = settings
  const { cooldown = COOLDOWN, refreshAfter = REFRESH_AFTER, remembered = REMEMBERED } = timing
  const keys = createRemoteJWKSet(new URL(settings.jwksUrl), {
    cooldownDuration: cooldown,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    timeoutDuration: FETCH_TIMEOUT,
  })
  const options = { issuer, audience, algorithms: ALGORITHMS, requiredClaims: ['exp'], clockTolerance: CLOCK_TOLERANCE }
  const known = new LRUCache<string, Credential>({ max: MOST_REMEMBERED })
  let refreshAt = performance.now() + refreshAfter

  // J3. Whether it worked shows in what is refused later; the keys known so far stay.
  function refresh(): void {
    if (keys.reloading || performance.now() < refreshAt) return
    refreshAt = performance.now() + refreshAfter
    keys.reload().catch(() => (refreshAt = performance.now() + cooldown))
  }

  async function verify(token: string): Promise<Credential> {
    const payload = await verified(token, keys, options).catch((error: unknown) => {
      const why = refusal(error, settings)
      if (why !== undefined) throw refused(why, error)
      throw new RefoldError('keys-unavailable', asError(error).message, { cause: error })
    })
    const tenant = payload[tenantClaim]
    if (!isTenant(tenant)) throw refused(`the token's claim ${tenantClaim} is not the name of a tenant`)
    const credential = { tenant, operator: isOperator(payload, operatorClaim) }
    const ttl = Math.min(remembered, (payload.exp ?? 0) * 1000 - Date.now())
    if (ttl > 0) known.set(token, credential, { ttl })
    return credential
  }

  return async (token) => {
    refresh()
    return known.get(token) ?? verify(token)
  }
}
