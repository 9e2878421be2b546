// requests → [action worker] → outcomes → log
//
// Owns: which requests of a queue run at once, how far the queue is worked off, handing back. Doesn't own: one attempt
// (run-attempt.ts), fetching (kafka/), which attempts come past the topic (eager-slots.ts).
//
// W1  Requests of a partition run side by side; the checkpoint is the lowest one that is not finished.
// W2  A batch is taken as far as there is room, and the rest asked for again: the reader is never held up.
// W3  Told to stop, it takes nothing more, lets attempts end for a while, then aborts them; what has no outcome is read again
//     by whoever gets the partition.
// W4  A runtime beside it hands attempts over past the topic (eager-slots.ts), as long as there is room and no request waits for it.
// W5  What was appended before a partition came here may have been run by whoever had it before: the attempt is told.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Faults } from '../faults.ts'
import type { LogBatch, LogHandler, LogRecord } from '../kafka/log.ts'
import type { DecodedRequest } from '../schemas/decoded.ts'
import type { ActionRequest, WorkflowEvent } from '../schemas/generated.ts'
import type { LineLog, ScheduledPayload } from '../workflow/action.ts'
import type { ActionMemory } from './attempt-port.ts'
import { attemptName, createEagerSlots } from './eager-slots.ts'
import type { Ended } from './run-attempt.ts'

export type WorkerStore = {
  /** Where to go on in a queue's partition; never below what the topic still holds. */
  checkpoint(topic: string, partition: number): Promise<number>
  save(topic: string, partition: number, next: number): Promise<void>
}

export type WorkerOptions = {
  store: WorkerStore
  decode: (bytes: Uint8Array | null) => DecodedRequest
  /** `inherited`: W5. */
  attempt: (request: ActionRequest, stop: AbortSignal, inherited: boolean) => Promise<Ended>
  /** W4 */
  memory: Pick<ActionMemory, 'expect' | 'unexpect'>
  /** Whether an action of this name, on this queue, is run here at all: else it is for whoever serves the queue. */
  serves: (name: string, queue: string | null) => boolean
  /** Attempts that run at once, of all queues. */
  concurrency: number
  /** Of those, how many may be handed over in this process besides those that it would read itself; 0: none at all. */
  eager: number
  /** Where an action's request would be read, and whether this process reads there; without it, it is not asked. */
  own?: { placeOf(actionId: string, queue: string | null): Place; reads(place: Place): boolean }
  /** ms */
  drain: number
  logger: LineLog
  faults: Faults
  /** The broker's time, ms. */
  now: () => number
}

/** A partition of a queue. */
type Place = { topic: string; partition: number }

export type ActionWorker = {
  /** The handler of a queue's reader. */
  handler(topic: string): LogHandler
  /** Told of every event that the runtime in this process is about to append: W4. */
  expects(event: WorkflowEvent): void
  /** Runs an attempt at once if it is served here and may be (W4): resolves when its outcome is in the log. */
  take(request: ActionRequest, queue: string | null): Promise<void> | undefined
  /** The attempt is about to tell its outcome: the slot that it was handed over with is free for what comes of it. */
  tells(request: ActionRequest): void
  /** Attempts that run now. */
  readonly running: number
  /** W3 */
  stop(): Promise<void>
}

/** At the same moments for all partitions, so that they share a statement, ms. */
const SAVE_EVERY = 250
/** A request without an outcome is tried again after, ms. */
const AGAIN = { busy: 500, claimed: 2000, 'not-implemented': 5000, stopping: 0, failed: 500 } as const
/** A batch waits so long for a free slot, ms. */
const ROOM_WAIT = 300

type Lane = {
  topic: string
  partition: number
  /** When it came here, by the broker's time. */
  since: number
  next: number
  saved: number
  unfinished: Set<number>
  /** Offsets from the checkpoint on whose attempts ended in this process: read again after a rebalance, they are passed over. */
  finished: Set<number>
  saving?: NodeJS.Timeout
}

export function createActionWorker(options: WorkerOptions): ActionWorker {
  const { store, concurrency, logger, faults } = options
  const lanes = new Map<string, Lane>()
  /** How often each lane was asked for its checkpoint. */
  const positions = new Map<string, number>()
  /** Attempts in this process: a partition that comes back while one runs does not start it twice. */
  const running = new Map<string, Promise<boolean>>()
  const stopping = new AbortController()
  const aborting = new AbortController()
  /** Told when an attempt has ended. */
  let freed = Promise.withResolvers<void>()
  /** Lanes whose batch was cut off since there was no room. */
  const cut = new Set<Lane>()

  const hasNoRoom = () => running.size + slots.kept >= concurrency
  const slots = createEagerSlots({
    spare: options.eager,
    memory: options.memory,
    isFull: () => hasNoRoom() || stopping.signal.aborted,
    isRunning: (name) => running.has(name),
    isOwn(actionId, queue) {
      const { own } = options
      if (!own || !own.reads(own.placeOf(actionId, queue))) return false
      // What was left to others is theirs.
      for (const lane of cut) if (!own.reads(lane)) cut.delete(lane)
      return cut.size === 0
    },
  })

  /** Until the attempt has an outcome, or the worker stops. */
  async function untilEnded(request: ActionRequest, inherited: boolean): Promise<boolean> {
    const began = performance.now()
    while (!aborting.signal.aborted) {
      const ended = await options.attempt(request, aborting.signal, inherited).catch((error: unknown) => {
        logger.warn(
          { action: request.name, attempt: request.attempt, error: asError(error).message },
          'an attempt could not be ended; again',
        )
        return { state: 'again', because: 'failed' } as const
      })
      // One that was skipped says nothing of it.
      if (ended.state === 'reported') slots.took(request.name, performance.now() - began)
      if (ended.state !== 'again') return true
      if (stopping.signal.aborted) return false
      if (ended.because === 'not-implemented') logger.warn({ action: request.name }, 'no implementation of this action here; it waits')
      await pause(AGAIN[ended.because], undefined, { signal: stopping.signal }).catch(() => undefined)
    }
    return false
  }

  async function once(request: ActionRequest, inherited: boolean): Promise<boolean> {
    const finished = await untilEnded(request, inherited)
    running.delete(attemptName(request))
    freed.resolve()
    freed = Promise.withResolvers()
    return finished
  }

  /** False: handed back, without an outcome. */
  function run(request: ActionRequest, inherited = false): Promise<boolean> {
    const name = attemptName(request)
    const known = running.get(name)
    if (known) return known
    const ended = once(request, inherited)
    running.set(name, ended)
    return ended
  }

  async function hasRoom(): Promise<boolean> {
    if (!hasNoRoom()) return !stopping.signal.aborted
    const late = Promise.withResolvers<'late'>()
    const timer = setTimeout(() => late.resolve('late'), ROOM_WAIT)
    while (hasNoRoom() && !stopping.signal.aborted) if ((await Promise.race([freed.promise, late.promise])) === 'late') break
    clearTimeout(timer)
    return !hasNoRoom() && !stopping.signal.aborted
  }

  const checkpointOf = ({ next, unfinished }: Lane) => Math.min(next, ...unfinished)

  function saveSoon(lane: Lane): void {
    lane.saving ??= setTimeout(() => void save(lane), SAVE_EVERY - (Date.now() % SAVE_EVERY))
  }

  async function save(lane: Lane): Promise<void> {
    clearTimeout(lane.saving)
    delete lane.saving
    const next = checkpointOf(lane)
    if (next <= lane.saved) return
    try {
      await faults.at('worker:checkpoint:moving')
      await store.save(lane.topic, lane.partition, next)
      lane.saved = next
      for (const offset of lane.finished) if (offset < next) lane.finished.delete(offset)
    } catch (error) {
      logger.debug({ error: asError(error).message }, 'a checkpoint was not stored; it will be')
      if (!stopping.signal.aborted) saveSoon(lane)
    }
  }

  async function start(lane: Lane, { offset, appendedAt }: LogRecord, request: ActionRequest): Promise<void> {
    lane.unfinished.add(offset)
    if (!(await run(request, appendedAt < lane.since))) return
    lane.unfinished.delete(offset)
    lane.finished.add(offset)
    saveSoon(lane)
  }

  async function batch({ topic, partition, from, next, records }: LogBatch): Promise<number> {
    const lane = lanes.get(`${topic}/${partition}`)
    if (!lane) throw new Error(`${topic} p${partition} was never positioned`)
    if (from > lane.next) throw new Error(`${topic} p${partition}: a batch from ${from} where ${lane.next} is next`)
    for (const record of records) {
      const { value, offset } = record
      if (lane.finished.has(offset)) continue
      if (!(await hasRoom())) {
        lane.next = offset
        // Not one whose assignment is over: nothing would clear it.
        if (lanes.get(`${topic}/${partition}`) === lane) cut.add(lane)
        return offset
      }
      const decoded = options.decode(value)
      // Nobody but us writes here; what can't be read can't be run either.
      if (decoded.state === 'request') void start(lane, record, decoded.request)
      else logger.error({ topic, partition, offset, ...decoded }, 'a request that cannot be read is passed over')
    }
    lane.next = next
    cut.delete(lane)
    saveSoon(lane)
    return next
  }

  async function eagerly(request: ActionRequest): Promise<void> {
    const finished = await run(request)
    slots.release(request)
    if (!finished) throw new Error(`attempt ${attemptName(request)} was handed back`)
  }

  async function stop(): Promise<void> {
    if (stopping.signal.aborted) return
    stopping.abort()
    slots.stop()
    const ended = Promise.allSettled(running.values())
    const late = new AbortController()
    await Promise.race([ended, pause(options.drain, undefined, { signal: late.signal }).catch(() => undefined)])
    late.abort()
    aborting.abort()
    await Promise.allSettled(running.values())
    await Promise.all([...lanes.values()].map(save))
  }

  return {
    handler: (topic) => ({
      async checkpoint(partition) {
        const name = `${topic}/${partition}`
        const mine = (positions.get(name) ?? 0) + 1
        positions.set(name, mine)
        const old = lanes.get(name)
        // What it had done counts, whoever has the partition by now.
        if (old) await save(old)
        const next = await store.checkpoint(topic, partition)
        const finished = old?.finished ?? new Set()
        // An older assignment's, answered late, knows nothing of what runs for the one that is read for.
        if (positions.get(name) === mine) {
          const before = lanes.get(name)
          if (before) cut.delete(before)
          lanes.set(name, { topic, partition, since: options.now(), next, saved: next, unfinished: new Set(), finished })
        }
        return next
      },
      batch,
    }),
    expects(event) {
      if (event.event_name !== 'action.scheduled' || event.payload === null) return
      // Made in this process just now.
      const { name, key, queue } = JSON.parse(event.payload) as ScheduledPayload
      if (!options.serves(name, queue)) return
      const { event_id: action_id, tenant, execution_id, decision: action } = event
      slots.keep({ action_id, tenant, execution_id, action, attempt: 1, name, key: key ?? action_id }, queue)
    },
    take(request, queue) {
      if (stopping.signal.aborted || !options.serves(request.name, queue)) return undefined
      return slots.take(request, queue) ? eagerly(request) : undefined
    },
    tells: (request) => slots.release(request),
    get running() {
      return running.size
    },
    stop,
  }
}
