// Postgres: the server, the migrations, the roles; and whether database and log belong together.

import type { Config } from '../../config.ts'
import type { TopicLook } from '../../kafka/look.ts'
import type { MigrationLook, PostgresLook, RoleLook } from '../../postgres/look.ts'
import { clock, type Finding, ms, ok, warn, wrong } from './finding.ts'

const LOG_REPLACED = 'docs/operations.md#log-replaced'
/** What the stack and docker-compose.yml bring; 15 is the oldest whose views can be `security_invoker`, 16 of pg_has_role SET. */
const OLDEST = 16

export function judgePostgres(look: PostgresLook): Finding[] {
  return [
    judgeServer(look),
    clock('postgres clock', look.clockDifference),
    ...judgeMigrations(look),
    ...(look.migrations.some(({ state }) => state === 'applied') ? rolesOf(look) : judgeRolesBefore(look)),
  ]
}

function judgeServer({ version, latency, encoding }: PostgresLook): Finding {
  if (Number.parseInt(version, 10) < OLDEST) return wrong('postgres', `${version}; ${OLDEST} or newer is needed`, 'Use a newer server.')
  if (encoding !== 'UTF8') return wrong('postgres', `its encoding is ${encoding}`, "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")
  return ok('postgres', `${version}, ${ms(latency)}`)
}

function judgeMigrations({ migrations, mayMigrate, user }: PostgresLook): Finding[] {
  const names = (wanted: MigrationLook['state']) => migrations.filter(({ state }) => state === wanted).map(({ name }) => name)
  const [missing, foreign, unknown] = [names('missing'), names('foreign'), names('unknown')]
  const found: Finding[] = []
  if (foreign.length > 0)
    found.push(
      wrong(
        'migrations',
        `${foreign.join(', ')}: another file ran under that name`,
        'Start the version of Refold that made this database.',
      ),
    )
  if (unknown.length > 0)
    found.push(wrong('migrations', `a newer version ran here: ${unknown.join(', ')}`, 'Start that version; migrations go forward only.'))
  if (missing.length > 0)
    found.push(
      mayMigrate
        ? warn('migrations', `${missing.length} of ${migrations.length} not applied`, 'They are at the next start: npm run refold -- start')
        : wrong(
            'migrations',
            `${missing.join(', ')} not applied, and ${user} may not create schemas`,
            `GRANT CREATE ON DATABASE … TO ${user}`,
          ),
    )
  return found.length > 0 ? found : [ok('migrations', `${migrations.length} applied`)]
}

const rolesOf = ({ roles, user }: PostgresLook) => roles.flatMap((role) => judgeRole(role, user))

function judgeRole({ name, exists, granted, bypassesRls }: RoleLook, user: string): Finding[] {
  if (!exists) return [wrong(`role ${name}`, 'does not exist', 'docs/operations.md#postgres has the statements.')]
  if (!granted) return [wrong(`role ${name}`, `may not be taken by ${user}, who logs in`, `GRANT ${name} TO ${user}`)]
  if (name === 'refold_engine' && !bypassesRls)
    return [wrong(`role ${name}`, 'is held by row-level security', `ALTER ROLE ${name} BYPASSRLS (as a superuser)`)]
  if (name === 'refold_api' && bypassesRls)
    return [wrong(`role ${name}`, 'goes past row-level security: tenants are not kept apart', `ALTER ROLE ${name} NOBYPASSRLS`)]
  return [ok(`role ${name}`, bypassesRls ? 'there, sees all tenants' : 'there, sees one tenant')]
}

/** Before the first migration nothing is wrong yet: it makes the roles where it may. */
function judgeRolesBefore(look: PostgresLook): Finding[] {
  const missing = look.roles.filter(({ exists }) => !exists).map(({ name }) => name)
  if (missing.length === 0) return rolesOf(look)
  return [warn('roles', `${missing.join(', ')} not made yet`, 'The first start makes them, if it may: docs/operations.md#postgres')]
}

/** Whether this database was folded from this log. `topic` is null when there is no such topic, undefined when Kafka is away. */
export function judgeLog({ log, checkpoints }: PostgresLook, topic: TopicLook | null | undefined, name: string, config: Config): Finding[] {
  if (!log) return [ok('log', 'this database is not bound to a log yet')]
  if (log.topic !== name)
    return [wrong('log', `this database is folded from ${log.topic}, not ${name}`, `Set REFOLD_TOPIC_PREFIX right; ${LOG_REPLACED}`)]
  if (topic === undefined) return []
  if (topic === null) return [wrong('log', `${name} is gone, and this database was folded from it`, LOG_REPLACED)]
  if (topic.partitions !== log.partitions)
    return [wrong('log', `${name} has ${topic.partitions} partitions, it had ${log.partitions} when it was pinned`, LOG_REPLACED)]
  const pinned = ok('log', `${name}, pinned at ${log.partitions} partitions`)
  const asked = config.partitions === log.partitions ? [] : [otherCount(config, log.partitions)]
  return [pinned, ...asked, ...judgeCheckpoints(checkpoints, topic)]
}

const otherCount = ({ partitions }: Config, pinned: number) =>
  warn('log', `REFOLD_PARTITIONS is ${partitions}, the log has ${pinned}`, `It is pinned: set REFOLD_PARTITIONS=${pinned}`)

function judgeCheckpoints(checkpoints: ReadonlyMap<number, number>, { bounds }: TopicLook): Finding[] {
  if (!bounds) return []
  const outside = bounds.filter(({ partition, low, high }) => {
    const next = checkpoints.get(partition) ?? 0
    return next > high || next < low
  })
  if (outside.length > 0) {
    const told = outside.map(({ partition, low, high }) => `p${partition}: ${checkpoints.get(partition) ?? 0} is not in ${low}–${high}`)
    return [wrong('checkpoints', `outside the log: ${told.join('; ')}`, LOG_REPLACED)]
  }
  const lag = bounds.reduce((sum, { partition, high }) => sum + high - (checkpoints.get(partition) ?? 0), 0)
  return [ok('checkpoints', lag === 0 ? 'at the end of the log' : `${lag.toLocaleString('en')} records behind the end of the log`)]
}
