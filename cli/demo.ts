// `refold demo`: servers → all roles in this process → the permit log imported → a tour over REST → orders as workflows.

import path from 'node:path'
import type { Command } from 'commander'
import type { Running } from '../main.ts'
import type { Addresses } from '../stack/addresses.ts'
import type { ApiAddress } from './client.ts'
import { announceApi } from './announced.ts'
import { endWithin, firstSignal, inTime, stopLimit } from './signals.ts'

const say = (line = '') => process.stdout.write(`${line}\n`)
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

type Demo = { lifetime: { owns<T>(opened: T, close: (opened: T) => unknown): T }; folder: string; stop: AbortSignal }

/** Starts what is missing of the servers; only what was started for demos and test runs is ended again, by the last of them. */
async function servers({ lifetime, folder }: Demo): Promise<void> {
  const { lentServers, up, use } = await import('../stack/stack.ts')
  const tell = (line: string) => say(`  ${line}`)
  say('Servers: Kafka, schema registry, Postgres, Redis')
  lifetime.owns(await use(folder, tell), (leave) => leave())
  const started = await up({ folder, say: tell, env: process.env, lent: true })
  if (started.length > 0) return
  tell(`all up already; they ${lentServers(folder).length > 0 ? 'end with the last that uses them' : 'stay up afterwards'}`)
}

/** Rejects when it is told to stop before all roles run. */
async function refold({ lifetime, folder, stop }: Demo): Promise<Running & { url: string; addresses: Addresses }> {
  const [{ readConfig, SETTINGS }, { resolveAddresses }, { ROLES, start }, { freePort, isFree }, { pino }, { default: app }] =
    await Promise.all([
      import('../config.ts'),
      import('../stack/addresses.ts'),
      import('../main.ts'),
      import('../stack/ports.ts'),
      import('pino'),
      import('../examples/order-fulfilment/app.ts'),
    ])
  const given = readConfig(process.env)
  const addresses = resolveAddresses(given)
  const log = path.join(folder, 'logs', 'refold.log')
  const logger = pino({ level: given.logLevel }, pino.destination({ dest: log, mkdir: true, sync: true }))
  const startAt = (port: number) => start({ config: readConfig(process.env, { port }), addresses, roles: ROLES, app, logger, stop })
  /** The port that is given, else the first free one; another demo that begins in the same moment may be quicker. */
  async function startAnywhere(tries: number): Promise<Running> {
    if (process.env[SETTINGS.port.env]) return startAt(given.port)
    const port = await freePort(given.port, new Set())
    try {
      return await startAt(port)
    } catch (error) {
      if (tries > 1 && !stop.aborted && !(await isFree(port))) return startAnywhere(tries - 1)
      throw error
    }
  }
  const running = await startAnywhere(5)
  // By itself within its time: the servers are ended after it, whatever a client keeps open.
  lifetime.owns(running, (opened) => inTime(stopLimit(ROLES, given), opened.stop()))
  if (running.url === undefined) throw new Error('the API did not say where it listens')
  lifetime.owns(announceApi(folder, running.url), (forget) => forget())
  say(`Refold: ${ROLES.join(', ')} in one process, at ${running.url} (its log: ${path.relative(process.cwd(), log)})`)
  return { ...running, url: running.url, addresses }
}

/** True when every row is in. */
async function importPermits({ folder, stop }: Demo, api: ApiAddress): Promise<boolean> {
  const [{ dataFile, MAP_FILE }, { readFile }, { parseMap }, { runImport }, { showProgress }, { allIn, reportOf }] = await Promise.all([
    import('../examples/permit-log/data.ts'),
    import('node:fs/promises'),
    import('./import/map.ts'),
    import('./import/run.ts'),
    import('./import/progress.ts'),
    import('./import/report.ts'),
  ])
  const { path: file, generated } = await dataFile(process.env, folder)
  say(generated ? 'Permit log: generated, shaped like the real one (REFOLD_DATA would name that)' : `Permit log: ${file}`)
  let view: { stop(): void } | undefined
  try {
    const summary = await runImport({
      file,
      map: parseMap(await readFile(MAP_FILE, 'utf8')),
      target: { ...api, wait: 60, patience: 120_000 },
      parallel: 4,
      batch: 1000,
      refusedPath: path.join(folder, 'permit-events.refused.ndjson'),
      stop,
      onStart: (now) => {
        view = showProgress(now, process.stderr)
      },
    })
    view?.stop()
    say(reportOf(path.basename(file), summary))
    const { accepted, duplicates, rows } = summary.counts
    if (accepted === 0 && duplicates === rows) say('Imported before: this time every row was found to be in, and nothing changed.')
    return allIn(summary, true)
  } finally {
    view?.stop()
  }
}

async function show(demo: Demo): Promise<boolean> {
  const begun = performance.now()
  await servers(demo)
  if (demo.stop.aborted) return false
  const running = await refold(demo).catch((error: unknown) => {
    if (demo.stop.aborted) return undefined
    throw error
  })
  if (!running) return false
  const { url, addresses } = running
  const [token = ''] = addresses.apiTokens.keys()
  say(`Up after ${seconds(begun)}.`)
  say()
  const complete = !demo.stop.aborted && (await importPermits(demo, { url, token }))
  if (demo.stop.aborted) return false
  say()
  const { tour } = await import('./demo/tour.ts')
  say(await tour({ url, token }))
  say()
  const { runOrders } = await import('./demo/orders.ts')
  const fulfilled = await runOrders({ url, token }, { count: 200, say, stop: demo.stop })
  say()
  return complete && fulfilled
}

/** Refold's own time to stop, then the servers', which are killed after theirs; ms. */
const LONGEST_END = 60_000

async function run({ once = false }: { once?: boolean }): Promise<void> {
  const [{ createLifetime }, { stackFolder }] = await Promise.all([import('../lifetime.ts'), import('../stack/state.ts')])
  const lifetime = createLifetime()
  const stop = new AbortController()
  const stopped = firstSignal().then(() => stop.abort())
  try {
    const good = await show({ lifetime, folder: stackFolder(), stop: stop.signal })
    if (once) process.exitCode = good ? 0 : 1
    else if (!stop.signal.aborted) {
      say('It stays up until Ctrl-C.')
      await stopped
    }
  } finally {
    say('Ending what was started here.')
    await endWithin(LONGEST_END, lifetime.close(), () =>
      say('Not everything ended in time: `npm run refold -- stack down` ends the servers.'),
    )
  }
}

export function register(program: Command): void {
  program
    .command('demo')
    .description('everything at once: servers, Refold, the permit log imported, a tour, orders as workflows; stays up until Ctrl-C')
    .option('--once', 'end by itself; exit code 0 where all rows were imported and all orders ended as they must, else 1')
    .addHelpText('after', '\nREFOLD_DATA names the real permit log where there is one; without it, one is generated.')
    .action(run)
}
