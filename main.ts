// The composition root: settings and addresses → adapters → roles. Everything that runs is made here, and ends here.

import type { Logger } from 'pino'
import { createHealth } from './api/health.ts'
import type { Part } from './api/ports.ts'
import { asError } from './errors.ts'
import { createLifetime, type Lifetime } from './lifetime.ts'
import type { Metrics } from './metrics.ts'
import { migrate } from './postgres/migrate.ts'
import { createPgPool } from './postgres/pool.ts'
import { startApi, watched } from './roles/api.ts'
import type { Projection } from './projections/define.ts'
import { type Checks, listen, openBase, part, readinessOf, requireApp, requirePort, type StartOptions, untilUp } from './roles/base.ts'
import { startNotifier } from './roles/notifier.ts'
import { startProjector } from './roles/projector.ts'
import { startRecorder } from './roles/recorder.ts'
import { startRuntime } from './roles/runtime.ts'
import { startWorker } from './roles/worker.ts'
import { createWatch, type Watch } from './watch.ts'

export { ROLES, type StartOptions } from './roles/base.ts'

export type Running = {
  /** Base URL of the API; absent without that role. */
  url?: string
  watch: Watch
  /** Drains and closes everything; may be called twice. */
  stop(): Promise<void>
}

const STARTING: Part = { name: 'start', ready: false, detail: 'not all roles run yet' }

/** Health by itself, from the first moment on: a process that waits for its servers is alive and not ready. */
async function startHealth({ config, logger }: StartOptions, checks: Checks, metrics: Metrics, lifetime: Lifetime): Promise<void> {
  if (config.healthPort === 0) return
  const health = lifetime.owns(createHealth({ readiness: readinessOf(checks), metrics }, logger), (opened) => opened.close())
  const url = await listen(health, config.host, config.healthPort, 'REFOLD_HEALTH_PORT')
  logger.info({ url }, 'health started')
}

function logHappenings(watch: Watch, logger: Logger): void {
  watch.on('recorder:batch:stored', (facts) => logger.debug(facts, 'batch stored'))
  watch.on('recorder:batch:overtaken', (facts) => logger.info(facts, 'another recorder was ahead; the batch was thrown away'))
  watch.on('recorder:schema:stored', (facts) => logger.info(facts, 'schema stored'))
  watch.on('runtime:execution:parked', (facts) => logger.error(facts, 'an execution is parked: see its incident'))
  watch.on('runtime:requests:swept', (facts) => logger.info(facts, 'old requests without an outcome were made again'))
  watch.on('runtime:decisions:resent', (facts) => logger.debug(facts, 'decisions were appended again'))
  watch.on('projector:partition:parked', (facts) => logger.error(facts, 'a projection cannot go past an event: see its incident'))
  watch.on('projector:event:passed', (facts) => logger.warn(facts, 'an event was passed, as a person let another generation pass it'))
  watch.on('notifier:stream:refilled', (facts) => logger.info(facts, 'Redis had lost the notifications; the newest were sent again'))
  watch.on('notifier:round:failed', (facts) => logger.debug(facts, 'notifications wait; they are sent in order when Redis is back'))
  watch.on('worker:attempt:ended', (facts) => logger.debug(facts, 'an attempt ended'))
  watch.on('worker:memory:away', (facts) => logger.debug(facts, 'Redis is away: attempts run without it'))
  watch.on('watch:listener:failed', (facts) => logger.error(facts, 'a listener failed'))
}

/** An application's projections are those of projections/define.ts: nothing else makes their kind. */
const projectionsOf = (options: StartOptions) => requireApp(options, 'projector').projections as readonly Projection[]

/** Rejects when it fires, with its reason; never, without one. */
const whenStopped = (stop: AbortSignal | undefined): Promise<never> =>
  new Promise((_, reject) => {
    const told = () => reject(asError(stop?.reason))
    if (stop?.aborted) told()
    else stop?.addEventListener('abort', told, { once: true })
  })

/**
 * Starts the roles and resolves when they run. Servers that don't answer yet are waited for; what waiting can't mend
 * (`config-invalid`, `log-replaced`, `migration-failed`, …) rejects, with everything closed again; so does
 * `stop`, with its reason.
 */
export async function start(options: StartOptions): Promise<Running> {
  const { addresses, roles, logger, watch = createWatch() } = options
  const lifetime = createLifetime()
  logHappenings(watch, logger)
  const counted = watched(options.config, watch)
  const checks: Checks = new Map([['start', async () => STARTING]])

  async function startAll(): Promise<Running> {
    if (roles.includes('api')) await requirePort(options.config.host, options.config.port, options.portFrom ?? 'REFOLD_PORT')
    await startHealth(options, checks, counted.metrics, lifetime)
    const base = await openBase(options, lifetime)
    await untilUp(logger, 'database', () => migrateDatabase(addresses.databaseUrl, logger))
    checks.set('kafka', () => part('kafka', base.logEnds))
    if (roles.includes('recorder')) await startRecorder(options, base, checks, watch, lifetime)
    const worker = roles.includes('worker') ? await startWorker(options, base, checks, watch, lifetime) : undefined
    if (roles.includes('notifier')) await startNotifier(options, base, checks, watch, lifetime)
    if (roles.includes('projector')) await startProjector(options, base, checks, watch, lifetime, projectionsOf(options))
    if (roles.includes('runtime')) await startRuntime(options, base, checks, watch, worker, lifetime)
    const url = roles.includes('api') ? await startApi(options, base, checks, counted, lifetime) : undefined
    checks.delete('start')
    return { ...(url === undefined ? {} : { url }), watch, stop: () => lifetime.close() }
  }

  const stopped = whenStopped(options.stop)
  try {
    return await Promise.race([startAll(), stopped])
  } catch (error) {
    await lifetime.close()
    throw error
  }
}

async function migrateDatabase(databaseUrl: string, logger: Logger): Promise<void> {
  const pool = createPgPool(databaseUrl, { max: 1, name: 'refold-migrate' })
  try {
    const applied = await migrate(pool)
    if (applied.length > 0) logger.info({ applied }, 'database migrated')
  } finally {
    await pool.end()
  }
}
