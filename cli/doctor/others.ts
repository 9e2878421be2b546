// Redis and the schema registry.

import { isDeepStrictEqual } from 'node:util'
import type { RedisLook } from '../../redis/look.ts'
import type { RegistryLook } from '../../schemas/look.ts'
import { clock, type Finding, ms, ok, warn, wrong } from './finding.ts'

/** Redis' own answer to a full memory must be an error: keys thrown out silently would be notifications lost silently. */
export function judgeRedis({ version, evictionPolicy, maxMemory, clockDifference, latency }: RedisLook): Finding[] {
  const policy =
    evictionPolicy === 'noeviction'
      ? ok('redis eviction', `noeviction${maxMemory > 0 ? `, ${Math.round(maxMemory / 2 ** 20)} MiB` : ''}`)
      : wrong('redis eviction', `maxmemory-policy is ${evictionPolicy || 'unknown'}`, 'redis-cli CONFIG SET maxmemory-policy noeviction')
  return [ok('redis', `${version}, ${ms(latency)}`), policy, clock('redis clock', clockDifference)]
}

/** `known`: the schemas that the database knows by id; undefined when it is away or bound to no log yet. */
export function judgeRegistry(
  { address, version, latency, subject }: RegistryLook,
  name: string,
  known?: ReadonlyMap<number, string>,
): Finding[] {
  return [ok('registry', `${version ?? 'version unknown'}, ${ms(latency)}`), judgeSubject(subject, name, address, known)]
}

function judgeSubject(subject: RegistryLook['subject'], name: string, url: string, known?: ReadonlyMap<number, string>): Finding {
  if (!subject && known)
    return wrong('schema', `${name} is gone, and records were written with it`, 'Restore the registry: docs/operations.md#log-replaced')
  if (!subject) return warn('schema', `${name} is not registered yet`, 'It is at the first start: npm run refold -- start')
  const { versions, newest, compatibility, isEnough } = subject
  const stored = newest && known?.get(newest.id)
  if (stored && !isDeepStrictEqual(JSON.parse(stored), JSON.parse(newest.text)))
    return wrong(
      'schema',
      `id ${newest.id} is another schema than the database knows under it`,
      'Restore the registry: docs/operations.md#log-replaced',
    )
  if (isEnough) return ok('schema', `${name}: ${versions} ${versions === 1 ? 'version' : 'versions'}, ${compatibility}`)
  return wrong(
    'schema',
    `${name}: compatibility is ${compatibility}, any schema may be registered`,
    `curl -X PUT -H 'Content-Type: application/json' -d '{"compatibility":"BACKWARD"}' ${url}/config/${name}`,
  )
}
