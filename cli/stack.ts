// refold stack: the local servers.

import { Argument, Option } from 'commander'
import type { Command } from 'commander'
import type { Kind } from '../stack/stack.ts'
import { example } from './output.ts'

const VARIABLES = ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'DATABASE_URL', 'REDIS_URL', 'REFOLD_API_TOKEN'] as const

const say = (line: string) => process.stderr.write(`${line}\n`)

export function register(program: Command): void {
  const stack = program.command('stack').description('the servers that Refold needs, on this machine, without Docker')
  const servers = () => new Argument('[server...]', 'all by default').choices(['kafka', 'registry', 'postgres', 'redis'])

  stack
    .command('up')
    .description(
      'start what does not run yet (what is missing is downloaded first); it stays until `stack down`. A server given by URL is not started',
    )
    .addArgument(servers())
    .addOption(new Option('--brokers <count>', 'Kafka brokers').choices(['1', '3']))
    .action(async (kinds: Kind[], { brokers }: { brokers?: '1' | '3' }) => {
      const [{ KINDS, up }, { stackFolder }] = await Promise.all([import('../stack/stack.ts'), import('../stack/state.ts')])
      const begun = performance.now()
      const started = await up({
        folder: stackFolder(),
        say,
        env: process.env,
        kinds: kinds.length > 0 ? kinds : KINDS,
        ...(brokers && { brokers: brokers === '3' ? 3 : 1 }),
      })
      say(started.length > 0 ? `The stack is up after ${((performance.now() - begun) / 1000).toFixed(1)} s.` : 'The stack is up already.')
    })

  stack
    .command('down')
    .description('end the servers that `stack up` started, and only those; their data stays')
    .addArgument(servers())
    .option('--erase', 'remove their data too')
    .action(async (kinds: Kind[], { erase = false }: { erase?: boolean }) => {
      const [{ down, KINDS }, { stackFolder }] = await Promise.all([import('../stack/stack.ts'), import('../stack/state.ts')])
      const ended = await down(stackFolder(), say, { kinds: kinds.length > 0 ? kinds : KINDS, erase })
      if (ended.length === 0) say('No server of this stack runs.')
      if (erase) say('The data is erased.')
    })

  stack
    .command('status')
    .description('addresses, processes, and whether each server answers; exit code 1 if one does not')
    .option('--json', 'as JSON, with the passwords')
    .action(async ({ json = false }: { json?: boolean }) => {
      const [{ status }, { readState, stackFolder }] = await Promise.all([import('../stack/stack.ts'), import('../stack/state.ts')])
      const state = readState(stackFolder())
      const rows = await status(stackFolder(), process.env)
      if (json) console.log(JSON.stringify(state, null, 2))
      else if (rows.length === 0) console.log('No server of this stack runs. Start them with: npm run refold -- stack up')
      else {
        for (const row of rows) {
          const process = row.pid === null ? 'given by URL' : `pid ${row.pid}, since ${row.startedAt}`
          console.log(`${row.name.padEnd(9)} ${row.state.padEnd(7)} ${row.address}  (${process})`)
        }
        if (state) console.log(`\ndevelopment token (tenant demo): ${state.developmentToken}`)
      }
      if (rows.length === 0 || rows.some((row) => row.state === 'silent')) process.exitCode = 1
    })

  stack
    .command('env')
    .description('addresses as variables, with the passwords: for psql, redis-cli and programs of your own')
    .addArgument(new Argument('[variable]', 'its value alone').choices(VARIABLES))
    .addHelpText('after', example('psql "$(npm run -s refold -- stack env DATABASE_URL)"'))
    .action(async (variable?: (typeof VARIABLES)[number]) => {
      const [{ resolveAddresses }, { readConfig }] = await Promise.all([import('../stack/addresses.ts'), import('../config.ts')])
      const { kafkaBrokers, registryUrl, databaseUrl, redisUrl, apiTokens } = resolveAddresses(readConfig(process.env))
      const [token] = apiTokens.keys()
      const values: Partial<Record<(typeof VARIABLES)[number], string>> = {
        KAFKA_BROKERS: kafkaBrokers.join(','),
        SCHEMA_REGISTRY_URL: registryUrl,
        DATABASE_URL: databaseUrl,
        REDIS_URL: redisUrl,
        ...(token !== undefined && { REFOLD_API_TOKEN: token }),
      }
      const chosen = Object.entries(values).filter(([name]) => variable === undefined || name === variable)
      // For a shell's eval and for a file of variables alike.
      for (const [name, value] of chosen)
        console.log(variable === undefined ? `${name}='${value.replaceAll("'", String.raw`'\''`)}'` : value)
    })

  stack
    .command('kafka-consumer-groups')
    .description("Kafka's own tool, of the local broker's jars; --bootstrap-server is KAFKA_BROKERS, else the stack's")
    .argument('[arguments...]', "the tool's own")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (_: readonly string[], __: object, { args }: Command) => {
      const [{ consumerGroups }, { resolveAddresses }, { readConfig }] = await Promise.all([
        import('../stack/kafka-tool.ts'),
        import('../stack/addresses.ts'),
        import('../config.ts'),
      ])
      process.exitCode = await consumerGroups(resolveAddresses(readConfig(process.env)).kafkaBrokers, args, say)
    })

  stack
    .command('logs')
    .description('the end of a server’s log')
    .argument('<server>', 'kafka, kafka-2, kafka-3, registry, postgres or redis')
    .option('-n, --lines <count>', 'how many lines', '100')
    .option('-f, --follow', 'go on as it grows')
    .action(async (server: string, { lines, follow = false }: { lines: string; follow?: boolean }) => {
      const { showLog } = await import('../stack/logs.ts')
      await showLog(server, Number(lines), follow)
    })
}
