// `refold doctor`: looks at this machine and at every server, changes nothing, and says what to type.

import type { Command } from 'commander'
import type { Config } from '../config.ts'
import type { StackState } from '../stack/state.ts'
import { type Finding, type Level, look, wrong } from './doctor/finding.ts'
import { oneLine } from './table.ts'

/** Where the servers are, as far as it is known. */
type Known = { brokers?: readonly string[]; registryUrl?: string; databaseUrl?: string; redisUrl?: string }

const UP = 'npm run refold -- stack up'

/** As resolveAddresses, but one server that isn't known hides no other. */
export function knownAddresses(config: Config, state: StackState | null): Known {
  const servers = state?.servers ?? {}
  const local = [servers.kafka, servers['kafka-2'], servers['kafka-3']].flatMap((server) => (server ? [server.address] : []))
  const brokers = config.kafkaBrokers?.split(',').map((address) => address.trim()) ?? local
  const registryUrl = config.registryUrl ?? servers.registry?.address
  const databaseUrl = config.databaseUrl ?? servers.postgres?.address
  const redisUrl = config.redisUrl ?? servers.redis?.address
  return {
    ...(brokers.length > 0 && { brokers }),
    ...(registryUrl && { registryUrl }),
    ...(databaseUrl && { databaseUrl }),
    ...(redisUrl && { redisUrl }),
  }
}

/** `setting` names the variable, `given` whether it is set; a server that isn't known was never started. */
function todoFor(setting: string, given: string | undefined): string {
  return given ? `Check ${setting}, and that the server runs.` : `${UP}   (or set ${setting})`
}

const absent = (name: string, setting: string) => wrong(name, 'no address is known', `${UP}   (or set ${setting})`)

/** Everything that was looked at, in the order it is shown. Never rejects for a server that is away. */
export async function examine(config: Config, state: StackState | null): Promise<Finding[]> {
  const [machine, kafka, postgres, { judgeProjections }, others, { lookAtKafka }, { lookAtPostgres }, { lookAtRedis }, { lookAtRegistry }] =
    await Promise.all([
      import('./doctor/machine.ts'),
      import('./doctor/kafka.ts'),
      import('./doctor/postgres.ts'),
      import('./doctor/projections.ts'),
      import('./doctor/others.ts'),
      import('../kafka/look.ts'),
      import('../postgres/look.ts'),
      import('../redis/look.ts'),
      import('../schemas/look.ts'),
    ])
  const { brokers, registryUrl, databaseUrl, redisUrl } = knownAddresses(config, state)
  const topic = `${config.topicPrefix}.events`
  const subject = `${topic}-value`

  const [port, log, database, cache, registry] = await Promise.all([
    machine.lookAtPort(config),
    brokers &&
      look('kafka', todoFor('KAFKA_BROKERS', config.kafkaBrokers), (within) =>
        lookAtKafka(brokers, topic, kafka.topicSettings(config), within),
      ),
    databaseUrl && look('postgres', todoFor('DATABASE_URL', config.databaseUrl), (within) => lookAtPostgres(databaseUrl, within)),
    redisUrl && look('redis', todoFor('REDIS_URL', config.redisUrl), (within) => lookAtRedis(redisUrl, within)),
    registryUrl &&
      look('registry', todoFor('SCHEMA_REGISTRY_URL', config.registryUrl), (within) => lookAtRegistry(registryUrl, subject, within)),
  ])

  const found: Finding[] = [machine.lookAtNode(), machine.lookAtJava(!config.kafkaBrokers || !config.registryUrl), port]
  if (!log || !brokers) found.push(absent('kafka', 'KAFKA_BROKERS'))
  else found.push(...(log.state === 'failed' ? [log.finding] : kafka.judgeKafka(log.seen, config, topic, brokers)))
  if (!registry) found.push(absent('registry', 'SCHEMA_REGISTRY_URL'))
  else {
    const known = database && database.state === 'seen' && database.seen.log ? database.seen.schemas : undefined
    found.push(...(registry.state === 'failed' ? [registry.finding] : others.judgeRegistry(registry.seen, subject, known)))
  }
  if (!database) found.push(absent('postgres', 'DATABASE_URL'))
  else if (database.state === 'failed') found.push(database.finding)
  else {
    const seen = log?.state === 'seen' ? log.seen.topic : undefined
    found.push(...postgres.judgePostgres(database.seen), ...postgres.judgeLog(database.seen, seen, topic, config))
    found.push(...judgeProjections(database.seen.projections))
  }
  if (!cache) found.push(absent('redis', 'REDIS_URL'))
  else found.push(...(cache.state === 'failed' ? [cache.finding] : others.judgeRedis(cache.seen)))
  return found
}

const worst = (found: readonly Finding[]): Level => {
  const has = (level: Level) => found.some((one) => one.level === level)
  return has('wrong') ? 'wrong' : has('warn') ? 'warn' : 'ok'
}

function page(found: readonly Finding[]): string {
  const width = Math.max(...found.map(({ name }) => name.length))
  const lines = found.flatMap(({ name, level, found: text, todo }) => [
    `${level.padEnd(5)}  ${name.padEnd(width)}  ${oneLine(text)}`,
    ...(todo === undefined ? [] : [`${' '.repeat(width + 9)}→ ${todo}`]),
  ])
  const count = (level: Level) => found.filter((one) => one.level === level).length
  return [...lines, '', `${count('ok')} ok, ${count('warn')} to look at, ${count('wrong')} wrong`].join('\n')
}

async function run({ json = false }: { json?: boolean }): Promise<void> {
  const [{ readConfig }, { readState, stackFolder }] = await Promise.all([import('../config.ts'), import('../stack/state.ts')])
  const found = await examine(readConfig(process.env), readState(stackFolder()))
  const text = json ? JSON.stringify({ status: worst(found), findings: found }, null, 2) : page(found)
  // kafkajs keeps a connection to a broker that says nothing, long after we gave up on it.
  process.stdout.write(`${text}\n`, () => process.exit(worst(found) === 'wrong' ? 1 : 0))
}

export function register(program: Command): void {
  program
    .command('doctor')
    .description('look at this machine and every server; changes nothing; exit code 1 if something is wrong')
    .option('--json', 'as JSON: status, and findings with name, level, found and todo')
    .action(run)
}
