// The projector, put together: every generation of the application's projections that this code folds, a reader each; and
// whoever's turn it is takes the next step of the open operations.

import type { Part } from '../api/ports.ts'
import { createBackOff } from '../consumers/back-off.ts'
import { createOperations } from '../consumers/operations.ts'
import { asError } from '../errors.ts'
import type { LogReader } from '../kafka/log.ts'
import type { Lifetime } from '../lifetime.ts'
import { createLiveLag } from '../postgres/live-lag.ts'
import { createPgPool } from '../postgres/pool.ts'
import { forgetProcess, tellProcess } from '../postgres/processes.ts'
import { createProjectionControl, type Generation } from '../postgres/projection-control.ts'
import type { Projection } from '../projections/define.ts'
import type { Watch } from '../watch.ts'
import { type Base, type Checks, part, processId, type StartOptions, untilUp } from './base.ts'
import { generationReader, passesOf } from './generation-reader.ts'
import { keepLooking } from './looking.ts'
import { heedPersonsOffsets, heedStanding, STANDING_EVERY } from './persons-offsets.ts'
import { createRecordedNews, keepListening } from './recorded.ts'

/** Which generations this process folds is told so often, and when they change, ms. */
const TELL_EVERY = 5000

export async function startProjector(
  options: StartOptions,
  base: Base,
  checks: Checks,
  watch: Watch,
  lifetime: Lifetime,
  projections: readonly Projection[],
): Promise<void> {
  const { config, addresses, logger } = options
  const { log, topic, partitions, codec, faults } = base
  const poolFor = (byKey: boolean) =>
    lifetime.owns(
      createPgPool(addresses.databaseUrl, { max: config.projectorConnections, name: 'refold-projector', role: 'refold_engine', byKey }),
      (opened) => opened.end(),
    )
  // Folds look rows up by their keys; the statements of handlers are their authors' own, and planned as such. Opens none until asked.
  const [pool, handlers] = [poolFor(true), poolFor(false)]
  const owner = lifetime.owns(createPgPool(addresses.databaseUrl, { max: 4, name: 'refold-operations' }), (opened) => opened.end())
  const news = createRecordedNews()
  lifetime.owns(keepListening(addresses.databaseUrl, 'refold-projector-listen', news.hear, logger), (opened) => opened.stop())
  // A recorder in this process is heard at once.
  watch.on('recorder:batch:stored', ({ partition, next }) => news.hear(`${partition}:${next}`))
  lifetime.owns(base.storing.add(news.storing), (listeners) => listeners.delete(news.storing))
  const passes = passesOf(codec)
  const control = createProjectionControl(owner, projections, partitions)
  for (const projection of projections) await untilUp(logger, `projection ${projection.name}`, () => control.sync(projection))
  const byName = new Map(projections.map((one) => [one.name, one]))
  const readers = new Map<string, { reader: LogReader; generation: Generation }>()
  const liveLag = createLiveLag(owner, () => log.bounds(topic), 'all')
  const operations = createOperations(control.operations, (facts, line) => logger.warn(facts, line), liveLag)
  const low = async (partition: number) => (await log.bounds(topic)).find((one) => one.partition === partition)?.low ?? 0

  const groupOf = ({ projection, generation }: Pick<Generation, 'projection' | 'generation'>) =>
    `${config.topicPrefix}.projection.${projection}.g${generation}`

  function readerOf(one: Generation, projection: Projection): LogReader {
    return generationReader({
      log,
      topic,
      group: groupOf(one),
      codec,
      partitions,
      pool: projection.how === 'fold' ? pool : handlers,
      passes,
      maxRecords: config.projectorBatch,
      projection,
      generation: one.generation,
      low,
      watch,
      faults,
      news,
      remembered: Math.ceil(config.projectorRows / partitions),
      // A build leaves room for live traffic. Asked at each pause: once promoted, it backs off no longer.
      yields: createBackOff(async () => (readers.get(groupOf(one))?.generation.state === 'building' ? liveLag() : 0)),
    })
  }

  const heeding = { log, topic, pool: owner, logger }

  /** `than`: whose checkpoints its offsets are held against; a retired generation has none. */
  const heedOffsets = async (one: Pick<Generation, 'projection' | 'generation'>, than = one.generation) =>
    heedPersonsOffsets(heeding, {
      group: groupOf(one),
      projection: one.projection,
      reader: `${one.projection}@g${one.generation}`,
      checkpoints: await control.checkpoints(one.projection, than),
    })

  async function heedAll(): Promise<void> {
    const running = (await control.generations()).filter(({ stopped }) => !stopped).map((one) => ({ ...one, live: one.generation }))
    const ours = [...running, ...(await control.retired())].filter(({ projection }) => byName.has(projection))
    await heedStanding(
      heeding,
      ours.map(({ live, ...one }) => ({ group: groupOf(one), isRead: readers.has(groupOf(one)), heed: () => heedOffsets(one, live) })),
    )
  }

  const id = processId('projector')
  const folded = () => [...readers.values()].map(({ generation: { projection, generation } }) => `${projection}@g${generation}`)
  let told = ''

  async function tell(generations = folded()): Promise<void> {
    await tellProcess(pool, {
      id,
      role: 'projector',
      deployment: null,
      workflows: [],
      actions: [],
      queues: [],
      partitions: [],
      generations,
    })
    told = generations.join()
  }
  // A look may take long.
  lifetime.owns(
    setInterval(() => void tell().catch(() => undefined), TELL_EVERY),
    (timer) => clearInterval(timer),
  )

  async function look(): Promise<void> {
    const wanted = new Map<string, Generation>()
    const all = await control.generations()
    for (const one of all) if (!one.stopped && byName.get(one.projection)?.version === one.version) wanted.set(groupOf(one), one)
    for (const [group, { reader }] of readers)
      if (!wanted.has(group)) {
        readers.delete(group)
        await reader.stop()
      }
    for (const [group, one] of wanted) {
      const projection = byName.get(one.projection)
      const known = readers.get(group)
      if (known) known.generation = one
      if (known || !projection) continue
      if (!(await heedOffsets(one))) continue // at the next look
      const reader = readerOf(one, projection)
      readers.set(group, { reader, generation: one })
      reader.start().catch((error: unknown) => logger.warn({ group, error: asError(error).message }, 'a projection did not start'))
    }
    if (folded().join() !== told) await tell()
    await operations.advance()
  }

  const looking = keepLooking(look, logger, 'generations and operations could not be looked at; again')
  // Apart, since operations wait for no broker that does not answer.
  const standing = keepLooking(heedAll, logger, 'groups could not be looked at; again', { every: STANDING_EVERY, first: STANDING_EVERY })
  lifetime.owns(readers, async (all) => {
    await Promise.all([looking.stop(), standing.stop()])
    await Promise.all([...all.values()].map(({ reader }) => reader.stop()))
    await forgetProcess(pool, id).catch(() => undefined)
  })
  checks.set('projector', async () => {
    const parts = [...readers.values()].map(({ reader, generation }) => ({ state: reader.health().state, generation }))
    return projectorPart(parts.filter(({ state }) => state !== 'running'))
  })
  checks.set('projector-postgres', () => part('projector-postgres', () => pool.query('SELECT')))
  logger.info({ projections: projections.map(({ name, version }) => `${name} ${version}`) }, 'projector started')
}

/** Nobody reads one that is not live: that it stands is told, and no process that serves the live ones is taken out for it. */
function projectorPart(bad: readonly { state: string; generation: Generation }[]): Part {
  const ready = bad.every(({ generation: { state } }) => state !== 'live')
  const detail = bad.map(({ state, generation: { projection, generation, state: is } }) => `${projection}@g${generation} (${is}): ${state}`)
  return { name: 'projector', ready, ...(bad.length > 0 ? { detail: detail.join(', ') } : {}) }
}
