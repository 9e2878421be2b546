// The API, put together: reads as refold_api, the appender, a port to listen on.

import { createApi } from '../api/api.ts'
import { jwtCredentials } from '../api/jwt.ts'
import type { Config } from '../config.ts'
import type { Lifetime } from '../lifetime.ts'
import { createMetrics, type Metrics } from '../metrics.ts'
import { createPgPool } from '../postgres/pool.ts'
import { createProjectionControl } from '../postgres/projection-control.ts'
import { createProjectionRequests } from '../postgres/projection-requests.ts'
import { createReadPool } from '../postgres/reads/pool.ts'
import { createReads } from '../postgres/reads/reads.ts'
import { createStateCache, type StateCache } from '../postgres/reads/replay.ts'
import { createRedriver } from '../producers/redrive.ts'
import type { Projection } from '../projections/define.ts'
import type { Watch } from '../watch.ts'
import { type Base, type Checks, listen, part, producerOf, readinessOf, type ServerAddresses, type StartOptions } from './base.ts'

/** What is counted while the roles run; listening before the first of them starts, so that nothing is missed. */
export type Watched = { watch: Watch; cache: StateCache; metrics: Metrics }

export function watched({ stateCacheSize, stateCacheTtl }: Config, watch: Watch): Watched {
  const cache = createStateCache({ max: Math.max(1, stateCacheSize), ttl: stateCacheTtl })
  return { watch, cache, metrics: createMetrics(watch, cache) }
}

/** Tokens that see records of no tenant: those named, or the development token where no tokens are set. */
function operatorsOf(config: Config, { apiTokens }: ServerAddresses): ReadonlySet<string> {
  if (config.operatorTokens) return new Set(config.operatorTokens.split(',').map((token) => token.trim()))
  return new Set(config.apiTokens ? [] : apiTokens.keys())
}

/** JSON Web Tokens, where an issuer is set; readConfig has seen that the three belong together. */
function jwtOf({ jwksUrl, jwtIssuer: issuer, jwtAudience: audience, jwtTenantClaim, jwtOperatorClaim }: Config) {
  if (jwksUrl === undefined || issuer === undefined || audience === undefined) return undefined
  return jwtCredentials({ jwksUrl, issuer, audience, tenantClaim: jwtTenantClaim, operatorClaim: jwtOperatorClaim })
}

export async function startApi(
  { config, addresses, logger, app, portFrom = 'REFOLD_PORT' }: StartOptions,
  base: Base,
  checks: Checks,
  { watch, cache, metrics }: Watched,
  lifetime: Lifetime,
): Promise<string> {
  const { log, logEnds, topic, partitions, faults } = base
  const pool = lifetime.owns(createReadPool(addresses.databaseUrl, { max: config.databaseConnections, name: 'refold-api' }), (opened) =>
    opened.close(),
  )
  // As the role that logs in: retiring a generation drops its schema.
  const requests = lifetime.owns(createPgPool(addresses.databaseUrl, { max: 2, name: 'refold-api-operations' }), (opened) => opened.end())
  const reads = createReads(pool, config.stateCacheSize > 0 ? cache : undefined)
  checks.set('postgres', () => part('postgres', reads.checkpoints))
  const api = createApi(
    {
      tokens: addresses.apiTokens,
      operators: operatorsOf(config, addresses),
      jwt: jwtOf(config),
      appender: producerOf(base, faults),
      redriver: createRedriver({ log, topic, partitions }),
      reads,
      endings: base.endings,
      projections: createProjectionRequests(requests, createProjectionControl(requests, [], partitions).dropGeneration),
      folds: (app?.projections ?? []) as readonly Projection[],
      partitions,
      logEnds,
      readiness: readinessOf(checks),
      answered: (facts) => watch.emit('api:request:answered', facts),
      taken: (facts) => watch.emit('api:events:taken', facts),
      metrics,
    },
    logger,
  )
  lifetime.owns(api, (opened) => opened.close())
  const url = await listen(api, config.host, config.port, portFrom)
  logger.info({ url }, 'api started')
  return url
}
