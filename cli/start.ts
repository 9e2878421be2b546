// `refold start`: any set of roles as a process of its own.

import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Command, InvalidArgumentError } from 'commander'
import { announceApi } from './announced.ts'
import type { App } from '../workflow/app.ts'

const ROLE_NAMES = ['api', 'recorder', 'runtime', 'worker', 'projector', 'notifier'] as const
/** Those that need an application. */
const APP_ROLES: readonly RoleName[] = ['runtime', 'worker', 'projector']
type RoleName = (typeof ROLE_NAMES)[number]

function parseRoles(text: string): RoleName[] {
  const roles = text.split(',').map((word) => word.trim())
  const known = (word: string): word is RoleName => ROLE_NAMES.some((name) => name === word)
  const unknown = roles.filter((word) => !known(word))
  if (unknown.length > 0) throw new InvalidArgumentError(`${unknown.join(', ')}: roles are ${ROLE_NAMES.join(', ')}.`)
  return roles.filter(known)
}

const wholePort = (text: string): number => {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new InvalidArgumentError('a port is a whole number from 0 to 65535.')
  return port
}

/** The default export of a module, made by defineApp. */
export async function loadApp(file: string): Promise<App> {
  const { RefoldError, asError } = await import('../errors.ts')
  let module: { default?: unknown }
  try {
    module = (await import(pathToFileURL(path.resolve(file)).href)) as { default?: unknown }
  } catch (cause) {
    throw new RefoldError('app-invalid', `${file}: ${asError(cause).message}`, { cause })
  }
  const app = module.default
  if (typeof app === 'object' && app !== null && 'workflows' in app && 'implementations' in app) return app as App
  throw new RefoldError('app-invalid', `${file}: its default export is not an application`)
}

type Options = { roles?: RoleName[]; app?: string; port?: number }

async function run({ roles: given, app: file, port }: Options): Promise<void> {
  const roles = given ?? ROLE_NAMES.filter((role) => file !== undefined || !APP_ROLES.includes(role))
  const [{ readConfig }, { resolveAddresses }, { start }, { stackFolder }, { pino }, { endWithin, firstSignal, stopLimit }] =
    await Promise.all([
      import('../config.ts'),
      import('../stack/addresses.ts'),
      import('../main.ts'),
      import('../stack/state.ts'),
      import('pino'),
      import('./signals.ts'),
    ])
  const config = readConfig(process.env, port === undefined ? {} : { port })
  const logger = pino({ level: config.logLevel })
  const app = file === undefined ? {} : { app: await loadApp(file) }
  const stop = new AbortController()
  const signalled = firstSignal().then(() => stop.abort())
  const limit = stopLimit(roles, config)
  const ending = (end: Promise<unknown>) =>
    endWithin(limit, end, () =>
      logger.warn({ ms: limit }, 'not everything could be ended in time; nothing is lost, others take over when its sessions run out'),
    )
  const portFrom = port === undefined ? {} : { portFrom: '--port' }
  const starting = start({ config, addresses: resolveAddresses(config), roles, logger, stop: stop.signal, ...portFrom, ...app })
  await Promise.race([starting, signalled])
  if (stop.signal.aborted) {
    await ending(starting.then((running) => running.stop()).catch(() => undefined))
    logger.info('stopped before all roles ran')
    return
  }
  const running = await starting
  const forget = running.url === undefined ? () => undefined : announceApi(stackFolder(), running.url)
  logger.info({ roles, url: running.url }, 'running; Ctrl-C stops')
  await signalled
  forget()
  await ending(running.stop())
  logger.info('stopped')
}

export function register(program: Command): void {
  program
    .command('start')
    .description('run roles in this process, until Ctrl-C')
    .option(
      '--roles <names>',
      `any of ${ROLE_NAMES.join(', ')}, separated by commas; default: all, without --app only api,recorder`,
      parseRoles,
    )
    .option('--app <module>', 'the application: a module whose default export is defineApp(…); for the roles runtime, worker and projector')
    .option('--port <number>', 'port of the API; 0 takes a free one (default: REFOLD_PORT or 8080)', wholePort)
    .addHelpText(
      'after',
      '\nProcesses with the same role share its work; start as many as you like, on any machine.\nrefold start --app examples/order-fulfilment/app.ts runs everything in one process.\nSettings are environment variables: docs/settings.md.',
    )
    .action(run)
}
