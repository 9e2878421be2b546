// produce → log → accept → [runtime] → decisions → log, requests → action workers
//
// Owns: which executions of a partition are in memory, what is appended and dispatched for them, the runtime's checkpoint.
// Doesn't own: one execution (driven.ts), the rules (workflow/), SQL (postgres/runtime-store.ts), fetching (kafka/).
//
// T1  Effects happen only from decisions read back as accepted; our own appended record counts as read back when it is the
//     partition's next one (nobody else wrote in between).
// T2  The stored checkpoint passes a record only when everything that it caused is read back and acknowledged, or parked.
// T3  What is read from the audit is read up to a known offset, once the recorder has come that far; the log does the rest.
// T4  Two runtimes on one partition decide the same, with the same ids: the second copy is dropped by `accept`.
// T5  A new assignment forgets the partition. What was parked is tried again then: code that fits goes on by itself.

import { setTimeout as pause } from 'node:timers/promises'
import { asError, RefoldError } from '../errors.ts'
import type { Appended, LogBatch, LogHandler, LogRecord } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { type Classified, classifyOwn } from '../workflow/events.ts'
import { executionKey } from '../workflow/execution.ts'
import { checkEvent } from '../workflow/limits.ts'
import { Driven, type DrivenOptions, type History, type Identity } from './driven.ts'
import { drive, type DriveOptions } from './drive.ts'
import type { Ending } from './endings.ts'
import { createForesight, type ForesightOptions } from './foresight.ts'
import { createOwnRecords } from './own-records.ts'
import { Place, untilRecorded } from './place.ts'
import type { RuntimeSchemas, RuntimeStore } from './runtime-port.ts'
import type { Timers } from './timers.ts'

export type RuntimeOptions = DriveOptions & {
  store: RuntimeStore
  schemas: RuntimeSchemas
  find: DrivenOptions['find']
  timers: Timers
  logger: DrivenOptions['logger']
  /** Told of each execution's last event, once it is accepted. */
  ended?: (ending: Ending) => void
  /** Executions kept in memory, of each partition. */
  remembered: number
  oneIn?: NonNullable<ForesightOptions['oneIn']>
}

export type Runtime = {
  handler: LogHandler
  /**
   * Told of every event this process is about to append. What the audit has of an execution that is started is asked for
   * meanwhile: below `origin` it does not change any more.
   */
  expects(event: WorkflowEvent, partition: number): void
  /** Told of every event this process appended: T1. */
  written(event: WorkflowEvent, appended: Appended): void
  /** Appends an attempt's outcome, and what its execution decides on it right behind where that can be foreseen (foresight.ts). */
  appendOutcome(event: WorkflowEvent, partition: number): Promise<Appended>
  /** Partitions that are still ours; the others are forgotten. Also looks for what diverged meanwhile. */
  keep(partitions: ReadonlySet<number>): void
  /** Asks again for attempts that nobody answered for so long (ms) that their requests may be gone from their topic. */
  sweep(ms: number): Promise<void>
  /** Timers and appends stop; checkpoints are stored. */
  close(): Promise<void>
}

/** At the same moments for all partitions, so that they share a statement, ms. */
const SAVE_EVERY = 250
/** Histories read at a time. */
const LOADED_AT_ONCE = 200
/** Another deployment's timers are fired too, if nobody else did, ms after their time. */
const OTHERS_LATER = 5000

export function createRuntime(options: RuntimeOptions): Runtime {
  const { store, schemas, timers, watch, logger } = options
  const places = new Map<number, Place>()
  /** How often each partition was asked for its checkpoint. */
  const positions = new Map<number, number>()
  /** Executions whose memory was dropped once because the log said otherwise. */
  const suspects = new Set<string>()
  const ownRecords = createOwnRecords()
  let closed = false

  function remember(place: Place, history: Identity): Driven {
    const driven = new Driven({ ...history, partition: place.partition, find: options.find, logger })
    place.executions.set(driven.key, driven)
    return driven
  }

  const isStart = ({ event_name: name, decision }: WorkflowEvent) => name === 'workflow.started' && decision === 0

  /** Histories below offset `before`; those that were asked for beforehand are not asked for again. */
  async function ask(place: Place, wanted: readonly Identity[], before: number, always: ReadonlySet<string>): Promise<readonly History[]> {
    const early: Promise<readonly History[]>[] = []
    const rest: Identity[] = []
    for (const one of wanted) {
      const key = executionKey(one.tenant, one.executionId)
      const expected = place.expected.get(key)
      place.expected.delete(key)
      if (expected?.origin === before && always.has(key)) early.push(expected.history)
      else rest.push(one)
    }
    const asked = rest.length > 0 ? await store.histories(rest, before, always) : []
    return [...asked, ...(await Promise.all(early)).flat()]
  }

  /** T3. Brings executions into memory as they were before offset `before`. `wereParked`: nobody drove them lately. */
  async function load(place: Place, wanted: readonly Identity[], before: number, always: ReadonlySet<string>, wereParked = false) {
    await untilRecorded(place, before, (partition) => store.recorded(partition))
    const loaded: Driven[] = []
    for (let at = 0; at < wanted.length; at += LOADED_AT_ONCE) {
      const histories = await ask(place, wanted.slice(at, at + LOADED_AT_ONCE), before, always)
      for (const history of histories) {
        const driven = remember(place, history)
        await driven.recall(history.events, wereParked)
        loaded.push(driven)
      }
    }
    for (const { tenant, executionId } of wanted) place.meet(executionKey(tenant, executionId))
    return loaded
  }

  async function needed(place: Place, all: readonly Classified[], from: number): Promise<void> {
    const fresh = new Map<string, Identity>()
    const met = new Map<string, Identity>()
    const starting = new Set<string>()
    for (const { event, role } of all) {
      const key = executionKey(event.tenant, event.execution_id)
      if (place.executions.has(key)) continue
      if (role.kind === 'started') starting.add(key)
      else if (place.idle.has(key)) continue
      const identity = { tenant: event.tenant, executionId: event.execution_id }
      if (place.hasMet(key)) met.set(key, identity)
      else fresh.set(key, identity)
    }
    if (fresh.size > 0) await load(place, [...fresh.values()], place.origin, starting)
    if (met.size > 0) await load(place, [...met.values()], from, starting)
    for (const key of [...fresh.keys(), ...met.keys()]) {
      const driven = place.executions.get(key)
      if (driven) await settleOrPark(place, driven)
      // Nothing of ours: only folded so far, or ended.
      if (!place.executions.has(key)) place.idle.set(key, true)
    }
  }

  /** After anything that may have moved an execution: appends and dispatches what is due, parks or forgets it. */
  async function settleOrPark(place: Place, driven: Driven): Promise<void> {
    driven.look()
    if (driven.ended) {
      // However it was parked, terminate or another deployment ended it.
      if (driven.parked) await store.mended(driven)
      return forget(place, driven)
    }
    if (driven.parked) return parkIt(place, driven)
    drive(place, driven, options)
  }

  function forget(place: Place, driven: Driven): void {
    driven.dispose()
    place.executions.delete(driven.key)
    place.settle(driven)
    place.idle.set(driven.key, true)
    if (driven.parked) place.revived.delete(driven)
  }

  async function parkIt(place: Place, driven: Driven): Promise<void> {
    const { parked } = driven
    if (!parked) return
    // Left meanwhile: what was read for it may lack its end. Whoever has the partition says what is wrong.
    if (place.closed) return forget(place, driven)
    if (parked.kind === 'not-registered' && (await store.isDrivenElsewhere(parked.workflow, parked.version))) return forget(place, driven)
    await store.park(driven, parked)
    watch.emit('runtime:execution:parked', { executionId: driven.executionId, tenant: driven.tenant, ...parked })
    forget(place, driven)
  }

  const foresight = createForesight({ ...options, load, settleOrPark })

  async function takeOne(
    place: Place,
    classified: Classified,
    { offset, appendedAt }: Pick<LogRecord, 'offset' | 'appendedAt'>,
  ): Promise<void> {
    const { event, role } = classified
    options.clock.saw(appendedAt)
    const driven = place.executions.get(executionKey(event.tenant, event.execution_id))
    if (!driven) return ofOthers(classified, appendedAt)
    const before = driven.head.openTimers
    const verdict = await driven.take(classified, appendedAt)
    if (verdict === 'unforeseen') {
      await foresight.anew(place, driven, offset)
      return takeOne(place, classified, { offset, appendedAt })
    }
    if (role.kind === 'fired' && verdict.verdict === 'early')
      timers.early({ tenant: driven.tenant, executionId: driven.executionId, timer: role.timer })
    if (verdict.verdict !== 'accepted') return
    if (driven.head.openTimers !== before) armed(driven, before)
    if (driven.ended) options.ended?.({ event, partition: place.partition, offset })
    if (driven.parked?.kind === 'diverged' && event.decision > 0) doubt(place, driven)
    place.touched(driven, offset)
    await settleOrPark(place, driven)
  }

  /** A decision read back is not the one computed: the memory may be wrong, so it is made anew, once. */
  function doubt(place: Place, driven: Driven): void {
    if (suspects.has(driven.key)) return
    suspects.add(driven.key)
    place.doubt = new RefoldError('memory-doubted', `execution ${driven.executionId} decided otherwise than its history`)
    throw place.doubt
  }

  /** A timer of an execution that is not in memory, fired or cancelled. */
  function ofOthers({ event, role }: Classified, appendedAt: number): void {
    const execution = { tenant: event.tenant, executionId: event.execution_id }
    if (role.kind === 'fired') timers.seen({ ...execution, timer: role.timer }, appendedAt)
    if (role.kind === 'decision' && role.timer && 'closes' in role.timer) timers.disarm({ ...execution, timer: role.timer.closes })
  }

  function armed({ partition, tenant, executionId, head }: Driven, before: ReadonlyMap<number, number>): void {
    for (const timer of before.keys()) if (!head.openTimers.has(timer)) timers.disarm({ tenant, executionId, timer })
    for (const [timer, fireAt] of head.openTimers) if (!before.has(timer)) timers.arm({ partition, tenant, executionId, timer, fireAt })
  }

  async function batch({ partition, next, records, from }: LogBatch): Promise<number> {
    const place = places.get(partition)
    if (!place) throw new RefoldError('internal', `p${partition} was never positioned`)
    if (place.doubt) throw place.doubt
    if (from > place.processed) throw new RefoldError('internal', `p${partition}: a batch from ${from} where ${place.processed} is next`)
    await options.faults.at('runtime:batch:read')
    const all: { record: LogRecord; classified: Classified }[] = []
    for (const record of records) {
      // Taken already, when this process was told of its acknowledgement.
      if (record.offset < place.processed) continue
      const classified = await schemas.inspect(record)
      if (classified) all.push({ record, classified })
    }
    await place.inTurn(async () => {
      const rest = all.filter(({ record }) => record.offset >= place.processed)
      await needed(
        place,
        rest.map(({ classified }) => classified),
        Math.max(from, place.processed),
      )
      for (const { record, classified } of rest) await takeOne(place, classified, record)
      place.processed = Math.max(place.processed, next)
      for (const driven of place.unsettled) if (driven.isMissing(place.processed)) resend(place, driven)
      place.evict(options.remembered)
    })
    await options.faults.at('runtime:batch:taken')
    const rest = ownRecords.rest(all.map(({ classified }) => classified.event.event_id))
    if (rest > 0) await pause(rest)
    saveSoon(place)
    return next
  }

  function resend(place: Place, driven: Driven): void {
    driven.resend()
    watch.emit('runtime:decisions:resent', { executionId: driven.executionId })
    drive(place, driven, options)
  }

  function saveSoon(place: Place): void {
    if (place.saving || place.closed) return
    place.saving = setTimeout(() => void save(place), SAVE_EVERY - (Date.now() % SAVE_EVERY))
  }

  async function save(place: Place): Promise<void> {
    clearTimeout(place.saving)
    place.saving = undefined
    try {
      for (const driven of place.revived)
        if (driven.settled) {
          await store.mended(driven)
          place.revived.delete(driven)
        }
      const next = place.checkpoint
      if (next <= place.saved || place.revived.size > 0) return
      await options.faults.at('runtime:checkpoint:moving')
      await store.save(place.partition, next)
      place.saved = next
    } catch (error) {
      logger.debug({ partition: place.partition, error: asError(error).message }, 'the checkpoint was not stored; it will be')
    }
    if (place.checkpoint > place.saved) saveSoon(place)
  }

  function drop(partition: number): void {
    const place = places.get(partition)
    if (!place) return
    place.close()
    places.delete(partition)
    timers.dropPartition(partition)
  }

  /** T5 */
  async function checkpoint(partition: number): Promise<number> {
    const mine = (positions.get(partition) ?? 0) + 1
    positions.set(partition, mine)
    // What was settled counts, whoever has the partition by now: less is asked for again.
    const before = places.get(partition)
    if (before) await save(before)
    drop(partition)
    const { next, isNew } = await store.checkpoint(partition)
    const place = new Place(partition, next, isNew, saveSoon)
    const revived = isNew ? await store.open(partition) : await store.parked(partition)
    for (const driven of await load(place, revived, next, new Set(), true)) {
      driven.forgetRequests()
      place.revived.add(driven)
      await settleOrPark(place, driven)
    }
    for (const timer of await store.openTimers(partition)) {
      const ours = place.executions.has(executionKey(timer.tenant, timer.executionId))
      timers.arm(timer, ours || !isNew ? 0 : OTHERS_LATER)
    }
    // An older assignment's, answered late: it must not stand in the place of the one that is read for.
    if (positions.get(partition) === mine) places.set(partition, place)
    else place.close()
    saveSoon(place)
    return next
  }

  /** T1. What this process appended, as far as nobody else's record lies between; the reader has the rest. */
  async function takeWritten(place: Place): Promise<void> {
    const ours: { classified: Classified; appended: Appended }[] = []
    for (const { event, appended } of place.written.splice(0)) {
      if (appended.offset !== place.processed + ours.length) continue
      const classified = classifyOwn(event)
      // What the recorder quarantines is not taken: an outcome is the author's, and nobody looked at it before.
      if ('fault' in classified || (event.decision === 0 && checkEvent(event))) break
      ours.push({ classified, appended })
    }
    if (ours.length === 0) return
    // One question for all that start: most come while the last question is under way.
    const starts = ours.filter(({ classified }) => classified.role.kind === 'started').map(({ classified }) => classified)
    if (starts.length > 0) await needed(place, starts, place.processed)
    for (const { classified, appended } of ours) {
      const { event, role } = classified
      // Evicted while this waited for its turn: the reader loads it.
      const key = executionKey(event.tenant, event.execution_id)
      if (role.kind !== 'started' && !place.executions.has(key) && !place.idle.has(key)) break
      await takeOne(place, classified, appended)
      place.processed = appended.offset + 1
    }
    saveSoon(place)
  }

  return {
    handler: { checkpoint, batch },
    expects(event, partition) {
      ownRecords.announce(event.event_id)
      const place = places.get(partition)
      if (!place || closed || !isStart(event) || place.recorded < place.origin) return
      const key = executionKey(event.tenant, event.execution_id)
      if (place.executions.has(key) || place.hasMet(key)) return
      const { origin } = place
      const history = store.histories([{ tenant: event.tenant, executionId: event.execution_id }], origin, new Set([key]))
      // Its failure is that of whoever waits for it.
      history.catch(() => undefined)
      place.expected.set(key, { origin, history })
    },
    written(event, appended) {
      const place = places.get(appended.partition)
      if (!place || closed) return
      if (!isStart(event) && !place.executions.has(executionKey(event.tenant, event.execution_id))) return
      if (place.written.push({ event, appended }) > 1) return
      // The batch that the reader fetches has it too: a failure here changes nothing but the time.
      place
        .inTurn(() => takeWritten(place))
        .catch((error: unknown) => logger.debug({ error: asError(error).message }, 'left to the reader'))
    },
    appendOutcome: (event, partition) => foresight.append(closed ? undefined : places.get(partition), event),
    keep(partitions) {
      for (const [partition, place] of places) {
        if (!partitions.has(partition)) drop(partition)
        else
          for (const driven of place.executions.values())
            if (driven.replay?.divergence) void place.inTurn(() => settleOrPark(place, driven))
      }
    },
    async sweep(ms) {
      for (const place of places.values()) {
        const waiting = await store.waiting(place.partition, ms)
        if (waiting.length === 0) continue
        await place.inTurn(async () => {
          const cold = waiting.filter(({ tenant, executionId }) => !place.executions.has(executionKey(tenant, executionId)))
          await load(place, cold, place.processed, new Set())
          for (const { tenant, executionId } of waiting) {
            const driven = place.executions.get(executionKey(tenant, executionId))
            if (!driven) continue
            driven.forgetRequests()
            await settleOrPark(place, driven)
          }
        })
        watch.emit('runtime:requests:swept', { partition: place.partition, executions: waiting.length })
      }
    },
    async close() {
      closed = true
      timers.close()
      const open = [...places.values()]
      await Promise.all(open.map((place) => save(place)))
      for (const place of open) place.close()
    },
  }
}
