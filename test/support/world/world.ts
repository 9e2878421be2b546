// Refold's own recorder, runtime, timers, workers, projectors and notifiers on a log, a record and a Redis in memory, as processes that die between
// any two of their steps and are followed by new ones; with reads that lag, records that come twice, answers that are lost, and
// processes that go on writing after their partitions went to others.
//
// Nothing of the rules is told again here: what runs is what `refold start` runs. Time is real, so a seed chooses what happens to whom,
// not the order of all steps.

import { setTimeout as pause } from 'node:timers/promises'
import { createActionWorker, type ActionWorker } from '../../../consumers/action-worker.ts'
import { createClock } from '../../../consumers/drive.ts'
import { createReaderSchemas } from '../../../consumers/reader-schemas.ts'
import { createAttempts } from '../../../consumers/run-attempt.ts'
import { createRuntime, type Runtime, type RuntimeOptions } from '../../../consumers/runtime.ts'
import { createTimers } from '../../../consumers/timers.ts'
import { RefoldError } from '../../../errors.ts'
import type { LogAppend, LogHandler, LogReader } from '../../../kafka/log.ts'
import { createEventProducer, type EventProducer } from '../../../producers/events.ts'
import { firedEvent, outcomeEvent } from '../../../producers/inputs.ts'
import { actionsTopic, createRequester } from '../../../producers/requests.ts'
import { createEventCodec, createRequestCodec } from '../../../schemas/codec.ts'
import type { ActionRequest, WorkflowEvent } from '../../../schemas/generated.ts'
import type { FoldProjection } from '../../../projections/define.ts'
import { createRecordedNews, type HeardNews } from '../../../roles/recorded.ts'
import { createMemoryLog } from '../../../testing/memory-log.ts'
import { createWatch } from '../../../watch.ts'
import type { ActionSql, LineLog } from '../../../workflow/action.ts'
import { partitionOf } from '../../../workflow/partition.ts'
import { type Fate, MortalProcess } from './process.ts'
import type { Kind, WorldOptions } from './options.ts'
import { Notifiers } from './notifiers.ts'
import { MemoryProjection, projectorHandlers } from './projection.ts'
import { MemoryRecord } from './record.ts'
import { recorderHandler } from './recorder.ts'
import { MemoryRedis } from './redis.ts'

const PARTITIONS = 6
const PREFIX = 'world'
const TOPIC = `${PREFIX}.events`
const SCHEMA_ID = 1
/** A process that lost its partitions and does not know it goes on for so long, ms. */
const ZOMBIE = 60
const QUIET: LineLog = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

type Running = { kind: Kind; process: MortalProcess; readers: LogReader[]; end: () => void }

export class World {
  readonly record = new MemoryRecord()
  readonly redis = new MemoryRedis()
  readonly log = createMemoryLog({ now: Date.now(), rest: 1 })
  /** Where processes died, how often. */
  readonly deaths = new Map<string, number>()
  readonly codec = createEventCodec({ schemaId: SCHEMA_ID })
  /** Outcomes decided on before they were read back, and how often something else came first. */
  readonly foresight = { foreseen: 0, inVain: 0 }
  /** Actions that the log has asked for, as `<execution>/<decision>`. */
  readonly asked = new Set<string>()
  readonly #requests = createRequestCodec({ schemaId: SCHEMA_ID })
  readonly #options: WorldOptions
  readonly #running = new Set<Running>()
  /** Nobody dies any more. */
  calm = false
  #closed = false
  #names = 0

  readonly projections: ReadonlyMap<FoldProjection, MemoryProjection>
  readonly notifiers: Notifiers
  readonly #hearing = new Set<(told: string) => void>()

  constructor(options: WorldOptions) {
    this.#options = options
    this.projections = new Map(options.projections.map((one) => [one, new MemoryProjection(this.record, options.mutation?.projectionMove)]))
    const { random, streamLength: length, mutation } = options
    this.notifiers = new Notifiers({ record: this.record, random, isCalm: () => this.calm, length, mutation: mutation?.notifier })
    // Told late, or not at all.
    this.record.moved = (partition, next) => {
      for (const hear of this.#hearing) if (!this.#chance(0.1)) setTimeout(hear, this.#options.random() * 3, `${partition}:${next}`)
    }
  }

  readonly #chance = (share: number) => this.#options.random() < share

  readonly #fate: Fate = {
    dies: (place) => {
      if (this.calm || !this.#chance(this.#options.deaths)) return false
      this.deaths.set(place, (this.deaths.get(place) ?? 0) + 1)
      return true
    },
    fails: () => !this.calm && this.#chance(this.#options.failures),
  }

  async open(): Promise<void> {
    for (const name of [TOPIC, actionsTopic(PREFIX, null)])
      await this.log.ensureTopic({ name, partitions: PARTITIONS, replication: 1, settings: {} })
    for (const [kind, count] of Object.entries(this.#options.processes)) for (let n = 0; n < count; n++) await this.#start(kind as Kind)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.notifiers.close()
    for (const { process } of this.#running) process.die()
    await Promise.all(
      [...this.#running].map(({ readers }) => Promise.race([Promise.all(readers.map((reader) => reader.stop())), pause(50)])),
    )
  }

  /** Of a sender outside, who lives for ever and sends until it is told that it was taken. */
  readonly append = async (event: WorkflowEvent): Promise<void> => {
    const producer = createEventProducer({
      log: this.#logOf(),
      topic: TOPIC,
      partitions: PARTITIONS,
      encode: (one) => this.codec.encode(one),
    })
    while (!this.#closed)
      try {
        await producer.append(event)
        return
      } catch {
        await pause(1)
      }
  }

  /** The log as a client sees it: a record may come twice, or its answer be lost, or it not be written. */
  #logOf(process?: MortalProcess) {
    const { log } = this
    const write = async (record: LogAppend) => {
      log.advance(Date.now() - log.now())
      if (!this.calm && this.#chance(0.003)) throw new RefoldError('log-unavailable', 'not written')
      const appended = log.append(record)
      this.#note(record)
      if (this.#chance(0.05)) await log.append(record)
      if (!this.calm && this.#chance(0.003)) throw new RefoldError('log-unavailable', 'written, and not told')
      return appended
    }
    return {
      append: (record: LogAppend) => (process ? process.call('log.append', () => write(record)) : write(record)),
      ensureTopic: log.ensureTopic,
    }
  }

  #note({ topic, value }: LogAppend): void {
    const decoded = topic === TOPIC ? this.codec.decode(value) : undefined
    if (decoded?.state !== 'event' || decoded.event.event_name !== 'action.scheduled') return
    this.asked.add(`${decoded.event.execution_id}/${decoded.event.decision}`)
  }

  /** Reads lag. */
  #handlerOf(process: MortalProcess, name: string, handler: LogHandler): LogHandler {
    const mortal = process.port(name, handler, 'call')
    return {
      checkpoint: (partition) => mortal.checkpoint(partition),
      // Behind the batch: a reader that lost the partition meanwhile must not hand on one that it had before.
      batch: async (batch) => {
        const next = await mortal.batch(batch)
        if (this.#chance(0.2)) await pause(Math.floor(this.#options.random() * 4))
        return next
      },
    }
  }

  #reader(process: MortalProcess, topic: string, group: string, handler: LogHandler): LogReader {
    return this.log.reader({
      topic,
      group,
      handler: this.#handlerOf(process, group, handler),
      mirror: { reader: group, generation: 1 },
      maxRecords: process.most,
    })
  }

  /** `news`: of a projector in the same process. */
  #recorder(process: MortalProcess, news: HeardNews | undefined): LogReader {
    const { random, mutation } = this.#options
    const recorder = recorderHandler({
      process,
      record: this.record,
      codec: this.codec,
      partitions: PARTITIONS,
      random,
      isCalm: () => this.calm,
      news,
      tellsOfAll: mutation?.tellsOfAll ?? false,
    })
    return this.#reader(process, TOPIC, 'recorder', recorder)
  }

  #worker(process: MortalProcess, id: string, beside: { append?: EventProducer['append'] }): { worker: ActionWorker; reader: LogReader } {
    const { app, query, mutation } = this.#options
    const clock = createClock()
    const producer = this.#producer(process)
    const memory = this.redis.memoryOf(id, (port, work) => process.remote(port, work))
    const sql = (writes: (() => void)[]): ActionSql => ({
      query: async (text, values = []) => {
        writes.push(() => query(text, values))
        return []
      },
    })
    const implementations = new Map(app.implementations.map((one) => [one.action.name, one]))
    const topic = actionsTopic(PREFIX, null)
    let reader: LogReader | undefined
    const placeOf = (actionId: string) => ({ topic, partition: partitionOf(actionId, PARTITIONS) })
    const reads = ({ partition }: { partition: number }) => reader?.health().partitions.has(partition) ?? false
    const worker = createActionWorker({
      ...(this.#chance(0.5) ? { own: { placeOf, reads } } : {}),
      store: process.port('record', this.record.workerStore()),
      decode: (bytes) => this.#requests.decode(bytes),
      attempt: createAttempts({
        worker: id,
        implementations,
        memory,
        store: process.port('record', this.record.actionStore(sql)),
        append: async (request, outcome, duration) => {
          const event = outcomeEvent(request, outcome, { worker: id, duration, now: Date.now() })
          worker.tells(request)
          const { appendedAt } = await (beside.append ?? producer.append)(event)
          clock.saw(appendedAt)
        },
        secrets: () => undefined,
        logger: QUIET,
        watch: createWatch(),
        faults: process.faults,
        now: clock.now,
      }),
      memory,
      serves: (name) => implementations.has(name),
      concurrency: 8,
      eager: 2,
      drain: 100,
      logger: QUIET,
      faults: process.faults,
      now: clock.now,
    })
    const handler = worker.handler(topic)
    reader = this.#reader(process, topic, 'worker', mutation?.workerHandler?.(handler, this.record.workerStore()) ?? handler)
    return { worker, reader }
  }

  #producer(process: MortalProcess, hooks: { writing?: Runtime['expects']; written?: Runtime['written'] } = {}) {
    return createEventProducer({
      log: this.#logOf(process),
      topic: TOPIC,
      partitions: PARTITIONS,
      encode: (one) => this.codec.encode(one),
      writing: (event, partition, bytes) => {
        process.own.writing(event, partition, bytes)
        hooks.writing?.(event, partition)
      },
      written: (event, appended) => {
        process.own.written(event, appended)
        hooks.written?.(event, appended)
      },
    })
  }

  #runtime(process: MortalProcess, version: '1' | '2', worker?: ActionWorker): { runtime: Runtime; reader: LogReader; close: () => void } {
    const { app, mutation } = this.#options
    const workflow = (name: string, wanted: string) => app.workflows.find((one) => one.name === name && one.version === wanted)
    const store = process.port('record', this.record.runtimeStore(version, [version], ['1', '2']))
    const clock = createClock()
    const hooks: { runtime?: Runtime } = {}
    const producer = this.#producer(process, {
      writing: (event, partition) => hooks.runtime?.expects(event, partition),
      written: (event, appended) => hooks.runtime?.written(event, appended),
    })
    const timers = createTimers({
      now: clock.now,
      fire: (timer) => void producer.append(firedEvent({ ...timer, now: Math.round(clock.now()) }, timer.timer)).catch(() => undefined),
    })
    const requester = createRequester({
      log: this.#logOf(process),
      prefix: PREFIX,
      spec: (name) => ({ name, partitions: PARTITIONS, replication: 1, settings: {} }),
      encode: (request: ActionRequest) => this.#requests.encode(request),
    })
    const watch = createWatch()
    watch.on('runtime:outcome:foreseen', () => this.foresight.foreseen++)
    watch.on('runtime:outcome:unforeseen', () => this.foresight.inVain++)
    const options: RuntimeOptions = {
      store,
      schemas: createReaderSchemas(this.codec, { get: async () => undefined }, PARTITIONS, store.recorded),
      find: (name, wanted) => (wanted === version ? workflow(name, wanted) : undefined),
      timers,
      clock,
      append: (event) => {
        worker?.expects(event)
        return producer.append(event)
      },
      dispatch: (request, queue, throughTopic) =>
        (throughTopic ? undefined : worker?.take(request, queue)) ?? requester.dispatch(request, queue),
      logger: QUIET,
      watch,
      faults: process.faults,
      remembered: 30,
      oneIn: 1,
    }
    const runtime = createRuntime(mutation?.runtime?.(options) ?? options)
    hooks.runtime = runtime
    const handler = mutation?.runtimeHandler?.(runtime.handler, store) ?? runtime.handler
    const reader = this.#reader(process, TOPIC, `runtime.${version}`, handler)
    const looking = setInterval(() => process.dead || runtime.keep(new Set(reader.health().partitions.keys())), 20)
    return {
      runtime,
      reader,
      close: () => {
        clearInterval(looking)
        timers.close()
        void runtime.close()
      },
    }
  }

  #projector(process: MortalProcess, records: boolean): { readers: LogReader[]; news: HeardNews | undefined; close: () => void } {
    const news = records || this.#chance(0.8) ? createRecordedNews() : undefined
    const hear = (told: string) => news?.hear(told)
    this.#hearing.add(hear)
    const handlers = projectorHandlers({
      process,
      projections: this.projections,
      codec: this.codec,
      partitions: PARTITIONS,
      faulty: this.#chance(records ? 0.1 : 0.3),
      ...(news ? { news } : {}),
    })
    const readers = [...handlers].map(([name, handler]) => this.#reader(process, TOPIC, `projection.${name}`, handler))
    return { readers, news, close: () => this.#hearing.delete(hear) }
  }

  async #start(kind: Kind): Promise<void> {
    if (this.#closed) return
    const id = `${kind}-${++this.#names}`
    const ends: (() => void)[] = []
    const process = new MortalProcess(this.#fate, 1 + Math.floor(this.#options.random() * 40), () => this.#died(running))
    const readers: LogReader[] = []
    const running: Running = { kind, process, readers, end: () => ends.forEach((end) => end()) }
    this.#running.add(running)
    const records = kind === 'recorder' || this.#chance(this.#options.recording[kind] ?? 0)
    const projector = kind === 'projector' ? this.#projector(process, records) : undefined
    if (records) readers.push(this.#recorder(process, projector?.news))
    if (projector) {
      readers.push(...projector.readers)
      ends.push(projector.close)
    }
    if (kind === 'notifier') {
      const { hear, close } = this.notifiers.start(process, id)
      this.#hearing.add(hear)
      ends.push(close, () => void this.#hearing.delete(hear))
    }
    let worker: ActionWorker | undefined
    const beside: { append?: EventProducer['append'] } = {}
    if (kind === 'worker' || kind === 'all') {
      const made = this.#worker(process, id, beside)
      worker = made.worker
      readers.push(made.reader)
      ends.push(() => {
        void made.worker.stop()
        this.redis.left(id)
      })
    }
    if (kind === 'runtime' || kind === 'all' || kind === 'second') {
      const made = this.#runtime(process, kind === 'second' ? '2' : '1', worker)
      beside.append = (event) => made.runtime.appendOutcome(event, partitionOf(event.execution_id, PARTITIONS))
      readers.push(made.reader)
      ends.push(made.close)
    }
    for (const reader of readers) if (!process.dead) await reader.start()
    // It may die while it joins its group: nobody then has left for it.
    if (process.dead) for (const reader of readers) void reader.stop()
    if (this.#chance(0.3)) void this.#expelLater(running)
  }

  /** Its partitions go to others, which it does not notice: what it has in hand it goes on with. */
  async #expelLater({ process, readers }: Running): Promise<void> {
    await pause(200 + this.#options.random() * 800)
    if (process.dead || this.calm) return
    for (const reader of readers) void reader.stop()
    await pause(ZOMBIE)
    if (process.dead) return
    this.deaths.set('expelled', (this.deaths.get('expelled') ?? 0) + 1)
    process.die()
  }

  #died(running: Running): void {
    this.#running.delete(running)
    for (const reader of running.readers) void reader.stop()
    running.end()
    if (!this.#closed) setTimeout(() => void this.#start(running.kind), this.#options.random() * 20)
  }
}
