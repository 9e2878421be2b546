// Redis and the schema registry.

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

export function judgeRegistry({ address, version, latency, subject }: RegistryLook, name: string): Finding[] {
  return [ok('registry', `${version ?? 'version unknown'}, ${ms(latency)}`), judgeSubject(subject, name, address)]
}

function judgeSubject(subject: RegistryLook['subject'], name: string, url: string): Finding {
  if (!subject) return warn('schema', `${name} is not registered yet`, 'It is at the first start: npm run refold -- start')
  const { versions, compatibility, isEnough } = subject
  if (isEnough) return ok('schema', `${name}: ${versions} ${versions === 1 ? 'version' : 'versions'}, ${compatibility}`)
  return wrong(
    'schema',
    `${name}: compatibility is ${compatibility}, any schema may be registered`,
    `curl -X PUT -H 'Content-Type: application/json' -d '{"compatibility":"BACKWARD"}' ${url}/config/${name}`,
  )
}
