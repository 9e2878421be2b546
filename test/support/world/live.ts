// Some hundred random programs (test/support/random-workflow.ts) in a world whose processes die, from start to end, and what is wrong
// then. In a process of its own: what dead processes wait for would keep this one for ever.

import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { draftEvent } from '../../../producers/events.ts'
import { requestEvent, startedEvent } from '../../../producers/inputs.ts'
import { type Guarantee, readScheduled } from '../../../workflow/action.ts'
import { type App, defineApp, implement, implementDatabase } from '../../../workflow/app.ts'
import { executionKey, type ExecutionState, initial, isComplete } from '../../../workflow/execution.ts'
import { executionIdOf, newId } from '../../../workflow/ids.ts'
import type { RequestName } from '../../../workflow/names.ts'
import { defineWorkflow } from '../../../workflow/workflow.ts'
import { endingFault } from '../random-ending.ts'
import { doWork, eventsOf, exact, failed, once, programOf, randomOf, run, work } from '../random-workflow.ts'
import type { MemoryProjection } from './projection.ts'
import type { RecordedExecution } from './record.ts'
import { aheadOf, counted, followed, rowFaults } from './rows.ts'
import type { Mutation } from './options.ts'
import { World } from './world.ts'

/** Each takes one rule out. */
export const MUTANTS = {
  'an action is asked for before its decision is read back': {
    runtime: (options) => ({
      ...options,
      async append(event) {
        const { event_id: action_id, tenant, execution_id, decision: action, payload } = event
        if (event.event_name === 'action.scheduled' && payload !== null) {
          const { name, key, queue } = readScheduled(payload)
          const request = {
            action_id,
            tenant,
            execution_id,
            action,
            attempt: 1,
            name,
            key: key ?? action_id,
            scheduled: payload,
            user_id: null,
          }
          await options.dispatch({ ...request, requested_at: Date.now() }, queue, false)
        }
        return options.append(event)
      },
    }),
  },
  "a runtime's checkpoint passes what is not settled": {
    runtimeHandler: (handler, store) => ({
      ...handler,
      async batch(batch) {
        const next = await handler.batch(batch)
        await store.save(batch.partition, next)
        return next
      },
    }),
  },
  "a worker's checkpoint passes requests that have no outcome": {
    workerHandler: (handler, store) => ({
      ...handler,
      async batch(batch) {
        const next = await handler.batch(batch)
        await store.save(batch.topic, batch.partition, next)
        return next
      },
    }),
  },
  'a batch is written whatever became of the transaction that it waited for': {
    projectionMove: (move) => (move.lock === undefined ? move : { ...move, assumed: false }),
  },
  'a batch is told of before it is stored though records of it are refused': { tellsOfAll: true },
  'a batch that is assumed to be accepted is not looked at': { projectionMove: (move) => ({ ...move, assumed: false }) },
  "a projection's checkpoint is moved wherever it is": { projectionMove: (move, checkpoint) => ({ ...move, from: checkpoint }) },
  'a notifier adds to a stream that lost what went before': {
    notifier: ({ stream, ...options }) => ({
      ...options,
      stream: { ...stream, add: (pages) => stream.add(pages.map((page) => ({ ...page, known: null }))) },
    }),
  },
  'a notifier does not look for what Redis lost': {
    notifier: ({ stream, ...options }) => ({
      ...options,
      stream: { add: stream.add, sent: async () => new Map(Array.from({ length: 6 }, (_, partition) => [partition, Infinity])) },
    }),
  },
  'what a notifier sends is in the order of executions': {
    notifier: ({ store, ...options }) => ({
      ...options,
      store: {
        ...store,
        next: async (moves, limit) =>
          (await store.next(moves, limit)).map((place) => ({
            ...place,
            events: place.events.toSorted((a, b) => a.execution_id.localeCompare(b.execution_id)),
          })),
      },
    }),
  },
  'an outcome is kept and what its transaction wrote is lost': { loses: 'exactly-once' },
  'an outcome is kept of what was not done, which may be done at most once': { loses: 'at-most-once' },
  'an outcome is kept of what was not done, which must be done at least once': { loses: 'at-least-once' },
  'a notifier notes a page before Redis has it, and Redis only how far': {
    notifier: ({ store, stream, ...options }) => ({
      ...options,
      stream,
      store: {
        ...store,
        next: async (moves, limit) => {
          const found = await store.next(moves, limit)
          const noted = found.map(({ partition, next: from, read: next, last, events }) => ({
            partition,
            from,
            next,
            last: events.at(-1)?.offset ?? last,
          }))
          await store.next(noted, 1)
          const told = noted.flatMap(({ partition, last }) => (last === null ? [] : [{ partition, known: null, last, entries: [] }]))
          await stream.add(told)
          return found
        },
      },
    }),
  },
} satisfies Record<string, Mutation>
export type Mutant = keyof typeof MUTANTS

const TENANT = 'test'
/** Entries of a stream that hasn't room for all. */
const SHORT = 200
/** Waits end after 250 ms in place of 5 s. */
const HURRY = 20
/** An action lasts at most so long, ms. */
const LASTS = 15
/** For so long processes die and lose their partitions, ms. */
const STORM = 6000
/** Nothing happened for so long, ms, which is longer than anything waits by itself: it stands still. Of a mutant, it is expected. */
const STANDS = { own: 20_000, mutant: 7000 }

type Effect = { guarantee: Guarantee; executionId: string; action: number; attempt: number; fails: boolean; key?: string }

export type Life = {
  seed: number
  /** Random programs, all at once. */
  executions: number
  /** How often a process dies, of all the places where it could. */
  deaths: number
  /** How often Postgres or Redis is not reached, or its answer is lost, of all questions (default none). */
  failures?: number
  mutant?: Mutant
}

/** Where it stands: what the log says last of it. */
const lastOf = (found: RecordedExecution | undefined): string =>
  (found?.history ?? [])
    .slice(-4)
    .map(
      ({ event, offset }) => `p${found?.partition}:${offset} ${event.event_name} ${event.decision || (event.payload ?? '').slice(0, 200)}`,
    )
    .join(', ')

export type Lived = {
  /** What is wrong, at most a line of each kind for an execution. */
  faults: string[]
  deaths: readonly (readonly [place: string, times: number])[]
  effects: number
  counts: World['redis']['counts'] & World['foresight'] & ReturnType<World['notifiers']['counts']> & { ahead: MemoryProjection['ahead'] }
}

/** The programs, and their actions, of which each says what it does when it does it. */
function appOf(random: () => number, effect: (one: Effect) => void): App {
  const versionOf = (version: string) =>
    defineWorkflow({ name: 'random', version, input: z.object({ seed: z.number() }), actions: { work, exact, once } }, (context) =>
      run(programOf(context.input.seed), context, HURRY).catch(failed),
    )
  return defineApp({
    workflows: [versionOf('1'), versionOf('2')],
    implementations: [
      implement(work, async ({ parameters, attempt, action, executionId, idempotencyKey }) => {
        await pause(random() * LASTS)
        effect({ guarantee: 'at-least-once', executionId, action, attempt, fails: attempt <= parameters.fails, key: idempotencyKey })
        return doWork({ parameters, attempt, key: idempotencyKey })
      }),
      implement(once, async ({ parameters, attempt, action, executionId }) => {
        await pause(random() * LASTS)
        effect({ guarantee: 'at-most-once', executionId, action, attempt, fails: false })
        return parameters.value
      }),
      implementDatabase(exact, async ({ parameters, attempt, action, executionId, sql }) => {
        await pause(random() * LASTS)
        await sql.query('', [executionId, action, attempt])
        return parameters.value
      }),
    ],
  })
}

/** What a person asks of one in ten each: a pause and to go on, a cancel, an end. */
const ASKED: Readonly<Record<number, readonly RequestName[]>> = {
  1: ['workflow.pauseRequested', 'workflow.resumeRequested'],
  2: ['workflow.cancelRequested'],
  3: ['workflow.terminateRequested'],
}

const idOf = (one: number) => executionIdOf(TENANT, 'random', String(one))

/** A start, all events that it waits for, and what a person asks. */
async function send(world: World, one: number, random: () => number): Promise<void> {
  await pause(random() * 500)
  const of = { tenant: TENANT, executionId: idOf(one), now: Date.now() }
  const input = JSON.stringify({ seed: one })
  const start = world.append(
    startedEvent({
      ...of,
      workflow: 'random',
      version: one % 3 === 0 ? '2' : '1',
      key: String(one),
      input,
      userId: null,
      correlationId: null,
    }),
  )
  const sent = eventsOf(programOf(one)).map((name) => {
    const draft = { event_name: name, execution_id: of.executionId, payload: JSON.stringify(name) }
    const drafted = draftEvent(draft, { tenant: TENANT, now: of.now, idempotencyKey: name }, 0)
    if (drafted.state !== 'event') throw new Error(drafted.detail)
    return world.append(drafted.event)
  })
  await Promise.all([start, ...sent])
  for (const name of ASKED[one % 10] ?? []) {
    await pause(random() * 400)
    await world.append(requestEvent(of, name, { id: newId(), reason: null, userId: null }))
  }
}

/** What of its ending is not as it must be: of one that was to be cancelled or terminated, that may have been too late. */
function faultOf(one: number, state: ExecutionState | undefined): string | undefined {
  const isGivenUp = one % 10 === 2 || one % 10 === 3
  if (isGivenUp && state && isComplete(state) && state.status !== 'failed') return undefined
  return endingFault(programOf(one), state)
}

/** What of its effects is not as their guarantees say; those it asked for are taken out of `doneBy`. */
function effectFaults(one: number, found: RecordedExecution | undefined, doneBy: Map<string, Effect[]>): string[] {
  const faults: string[] = []
  const history = found?.history ?? []
  const outcomes = history.filter(({ event }) => event.event_name === 'action.completed').map(({ event }) => event.causation_id)
  if (new Set(outcomes).size < outcomes.length) faults.push(`${one} has an action that was completed twice`)
  // By key: calls of one key may have one effect between them.
  const completed = new Map<string, string>()
  const had = new Set<string>()
  for (const { event } of history) {
    if (event.event_name !== 'action.scheduled' || event.payload === null) continue
    const done = doneBy.get(`${idOf(one)}/${event.decision}`) ?? []
    doneBy.delete(`${idOf(one)}/${event.decision}`)
    const scheduled = readScheduled(event.payload)
    const { guarantee } = scheduled
    const key = scheduled.key ?? event.event_id
    if (outcomes.includes(event.event_id)) completed.set(key, `${guarantee} ${event.decision}`)
    if (done.some(({ fails }) => !fails)) had.add(key)
    if (done.some((effect) => (effect.key ?? key) !== key)) faults.push(`${one}: ${event.decision} was handed another idempotency key`)
    if (guarantee === 'exactly-once' && done.length > 1) faults.push(`${one}: ${done.length} effects of exactly-once ${event.decision}`)
    const attempts = new Set(done.map(({ attempt }) => attempt))
    if (guarantee === 'at-most-once' && attempts.size < done.length) faults.push(`${one}: ${event.decision} ran twice`)
  }
  for (const [key, action] of completed) if (!had.has(key)) faults.push(`${one}: no effect of ${action}, which completed`)
  return faults
}

async function live({ seed, executions, deaths, failures = 0, mutant }: Life): Promise<Lived> {
  const random = randomOf(seed)
  const effects: Effect[] = []
  const early: string[] = []
  const mutation: Mutation = mutant === undefined ? {} : MUTANTS[mutant]
  const effect = (one: Effect) => {
    if (one.guarantee === mutation.loses) return
    effects.push(one)
    const name = `${one.executionId}/${one.action}`
    if (!world.asked.has(name)) early.push(`${name} had an effect before the log asked for it`)
  }
  const isPaired = seed % 5 === 1 || seed % 5 === 2
  const world = new World({
    random,
    app: appOf(random, effect),
    // Where runtime and worker are one process, it decides ahead of the log; where recorder and projector are, and have the same
    // partitions, they write at the same time.
    recording: isPaired ? { projector: 1 } : { all: 0.5, notifier: 0.5, projector: 0.5 },
    processes: {
      recorder: isPaired ? 0 : 2,
      second: 1,
      projector: isPaired ? 3 : 2,
      notifier: 3,
      ...(seed % 2 === 0 ? { runtime: 0, worker: 0, all: 3 } : { runtime: 1, worker: 1, all: 1 }),
    },
    projections: [counted, followed],
    deaths,
    failures,
    streamLength: seed % 3 === 0 ? SHORT : 1_000_000,
    query: (_text, [executionId, action, attempt]) =>
      effect({
        guarantee: 'exactly-once',
        executionId: String(executionId),
        action: Number(action),
        attempt: Number(attempt),
        fails: false,
      }),
    mutation,
  })
  await world.open()
  const seeds = Array.from({ length: executions }, (_, n) => seed * 100_000 + n)
  const stateOf = (one: number) => world.record.executions.get(executionKey(TENANT, idOf(one)))?.state
  // As an operation holds a generation, for a while, at some offset.
  const holding = setInterval(() => {
    for (const { holds, checkpoints } of world.projections.values()) {
      holds.clear()
      const partition = Math.floor(random() * 6)
      if (!world.calm) holds.set(partition, (checkpoints.get(partition) ?? 0) + Math.floor(random() * 10))
    }
  }, 50)
  const flushing = setInterval(() => world.redis.flush(), 500)
  await Promise.all(seeds.map((one) => send(world, one, random)))
  const stands = mutant === undefined ? STANDS.own : STANDS.mutant
  const began = performance.now()
  const isOver = () => seeds.every((one) => isComplete(stateOf(one) ?? initial(TENANT, '')))
  let [events, since] = [0, began]
  while (!isOver() && performance.now() - since < stands) {
    await pause(20)
    world.calm = performance.now() - began > STORM
    const now = [...world.record.executions.values()].reduce((sum, { history }) => sum + history.length, 0)
    if (now > events || !world.calm) [events, since] = [now, performance.now()]
  }
  clearInterval(flushing)
  clearInterval(holding)
  for (const { holds } of world.projections.values()) holds.clear()
  const isFollowed = () =>
    [...world.projections.values()].every(({ checkpoints }) =>
      [...world.record.recorded].every(([partition, next]) => (checkpoints.get(partition) ?? 0) === next),
    )
  for (const until = performance.now() + stands; !isFollowed() && performance.now() < until;) await pause(20)
  world.calm = true
  const faults = [...early, ...(await world.notifiers.faults(stands))]
  await world.close()
  const doneBy = Map.groupBy(effects, ({ executionId, action }) => `${executionId}/${action}`)
  for (const one of seeds) {
    const found = world.record.executions.get(executionKey(TENANT, idOf(one)))
    const fault = faultOf(one, found?.state)
    if (fault !== undefined) faults.push(`${one} ${fault}; ${lastOf(found)}`)
    faults.push(...effectFaults(one, found, doneBy))
  }
  for (const [name] of doneBy) faults.push(`${name} had an effect, and the log never asked for it`)
  faults.push(...rowFaults(world))
  for (const [key, parked] of world.record.parked) faults.push(`${key} was parked: ${JSON.stringify(parked)}`)
  return {
    faults,
    deaths: [...world.deaths],
    effects: effects.length,
    counts: { ...world.redis.counts, ...world.foresight, ...world.notifiers.counts(), ahead: aheadOf(world) },
  }
}

process.once('message', (life: Life) => {
  void live(life).then((lived) => process.send?.(lived, () => process.exit()))
})
