// What a workflow function is given: each call becomes a decision of its execution (replay.ts), or waits for an input.

import { createHash } from 'node:crypto'
import type { WorkflowEvent } from '../schemas/generated.ts'
import type { Action } from './action.ts'
import { issuesOf, writtenParameters } from './contract.ts'
import { milliseconds } from './duration.ts'
import { InvalidCall } from './failures.ts'
import { parsePlain } from './json.ts'
import { isReservedName } from './names.ts'
import { INITIAL_STATE } from './execution.ts'
import type { Execution, Settle } from './driven-execution.ts'
import { type CallOptions, callNames, type ReceivedEvent, type Workflow, type WorkflowContext } from './workflow.ts'

/** A call of waitFor that nothing has answered. */
export type PendingWait = Settle & { names: readonly string[]; satisfy(wait: number, event: WorkflowEvent): void }

const received = (event: WorkflowEvent): ReceivedEvent => ({
  id: event.event_id,
  name: event.event_name,
  type: event.event_type,
  payload: event.payload === null ? null : parsePlain(event.payload),
  userId: event.user_id,
  createdAt: event.created_at,
})

/** A promise that the author may leave alone: its rejection is never an unhandled one. */
function promised(start: (settle: Settle) => void): Promise<unknown> {
  const promise = new Promise((resolve, reject) => start({ resolve, reject }))
  promise.catch(() => undefined)
  return promise
}

/** Waits for ever: a call that does not count has no answer. */
const NEVER = () => new Promise<never>(() => undefined)

/** As the log holds it: what JSON cannot hold is refused, or left out as JSON does. */
function asJson(value: unknown, what: string): unknown {
  try {
    const text = JSON.stringify(value)
    return text === undefined ? null : (JSON.parse(text) as unknown)
  } catch (cause) {
    throw new InvalidCall(`${what} cannot be written as JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

function callAction(execution: Execution, action: Action, given: unknown, { key }: CallOptions = {}): Promise<unknown> {
  if (!execution.allows(`actions.${action.name}`)) return NEVER()
  const parsed = action.parameters.safeParse(given)
  if (!parsed.success) {
    const issues = issuesOf(parsed.error, 'parameters')
    return promised(({ reject }) => reject(new InvalidCall(`${action.name}: ${issues}`)))
  }
  return promised((settle) => {
    const { name, retry, timeout_ms, heartbeat_ms, guarantee, queue } = action
    const args = asJson(given, `the parameters of ${name}`)
    const parameters = writtenParameters(action, args, asJson(parsed.data, `the parameters of ${name}`))
    const beats = heartbeat_ms === null ? {} : { heartbeat_ms }
    const payload = { name, key: key ?? null, group: null, arguments: args, parameters, retry, timeout_ms, ...beats, guarantee, queue }
    const n = execution.decide('action.scheduled', payload)
    execution.actions.set(n, { ...settle, name, attempt: 1 })
  })
}

const called = new WeakMap<Workflow, ReadonlyMap<string, Action>>()

/** Made once a workflow: an execution is made anew each time it comes back into memory. */
function namesOf(workflow: Workflow): ReadonlyMap<string, Action> {
  const known = called.get(workflow) ?? callNames(workflow.actions)
  called.set(workflow, known)
  return known
}

function actionCalls(execution: Execution): Readonly<Record<string, unknown>> {
  const known = namesOf(execution.workflow)
  return new Proxy(Object.freeze({}), {
    get(_, name) {
      // `then` is asked by await, symbols by inspection: none of them is an action.
      if (typeof name === 'symbol' || name === 'then') return undefined
      const action = known.get(name)
      if (!action)
        throw new InvalidCall(`no action ${name} in workflow ${execution.workflow.name}; it has ${nearest(name, known) || 'none'}`)
      return (given: unknown, options?: CallOptions) => callAction(execution, action, given, options)
    },
  })
}

/** The names most like this one: those that share most of its letters' pairs. */
function nearest(name: string, known: ReadonlyMap<string, Action>): string {
  const pairs = (text: string) =>
    new Set(Array.from({ length: Math.max(0, text.length - 1) }, (_, i) => text.slice(i, i + 2).toLowerCase()))
  const wanted = pairs(name)
  const likeness = (other: string) => [...pairs(other)].filter((pair) => wanted.has(pair)).length
  return [...new Set(known.keys())]
    .toSorted((a, b) => likeness(b) - likeness(a))
    .slice(0, 3)
    .join(', ')
}

function waitFor(execution: Execution, names: string | readonly string[], timeout: string | number | undefined): Promise<unknown> {
  if (!execution.allows('events.waitFor')) return NEVER()
  const wanted = typeof names === 'string' ? [names] : [...names]
  if (wanted.length === 0) throw new InvalidCall('waitFor needs the name of an event')
  const timeoutAt = timeout === undefined ? undefined : execution.now + milliseconds(timeout)
  return promised(({ resolve, reject }) => {
    const n = execution.decide('wait.started', {
      names: wanted,
      ...(timeoutAt === undefined ? {} : { timeout_at: new Date(timeoutAt).toISOString() }),
    })
    const satisfied = (event: WorkflowEvent) => {
      execution.decide('wait.satisfied', { wait: n, event_id: event.event_id, event_name: event.event_name })
      resolve(received(event))
    }
    const waiting = execution.take(wanted)
    if (waiting) return satisfied(waiting)
    let timer: number | undefined
    const satisfy = (_: number, event: WorkflowEvent) => {
      execution.waits.delete(n)
      satisfied(event)
      if (timer !== undefined) execution.cancelTimer(timer)
    }
    execution.waits.set(n, { names: wanted, resolve, reject, satisfy })
    if (timeoutAt === undefined) return
    const timedOut = () => {
      execution.waits.delete(n)
      resolve(null)
    }
    timer = execution.startTimer(timeoutAt, 'timeout', { resolve: timedOut, reject: () => undefined })
  })
}

function chance(execution: Execution): () => Buffer {
  let count = 0
  return () =>
    createHash('sha256')
      .update(JSON.stringify(['chance', execution.tenant, execution.executionId, count++]))
      .digest()
}

/** The context of one execution, from its `workflow.started` on. */
export function createContext(execution: Execution, input: unknown): WorkflowContext {
  const data = new Map<string, unknown>()
  const next = chance(execution)
  let state = INITIAL_STATE
  return {
    executionId: execution.executionId,
    tenant: execution.tenant,
    userId: execution.started?.user_id ?? null,
    input,
    // The types of the calls are those of the author's own actions.
    actions: actionCalls(execution) as WorkflowContext['actions'],
    data: {
      get: (name) => structuredClone(data.get(name)),
      set(name, value) {
        if (!execution.allows('data.set')) return
        const kept = asJson(value, `data ${name}`)
        execution.decide('workflow.dataUpdated', { [name]: kept })
        data.set(name, kept)
      },
    },
    events: {
      // Two shapes for authors, one for the machine.
      waitFor: ((names: string | readonly string[], options?: { timeout?: string | number }) =>
        waitFor(execution, names, options?.timeout)) as WorkflowContext['events']['waitFor'],
      emit(name, payload) {
        if (!execution.allows('events.emit')) return
        if (isReservedName(name)) throw new InvalidCall(`${name}: names that begin with workflow. action. timer. wait. are Refold's own`)
        execution.decide(name, payload === undefined ? undefined : asJson(payload, `the payload of ${name}`))
      },
    },
    getCurrentState: () => state,
    setState(to) {
      if (!execution.allows('setState')) return
      if (to === '') throw new InvalidCall('setState needs the name of a state')
      execution.decide('workflow.stateChanged', undefined, { from: state, to })
      state = to
    },
    logger: execution.logger,
    sleep(duration) {
      if (!execution.allows('sleep')) return NEVER()
      const length = milliseconds(duration)
      return promised((settle) => execution.startTimer(execution.now + length, 'sleep', settle)).then(() => undefined)
    },
    now: () => execution.now,
    uuid() {
      const hex = next().toString('hex')
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
    },
    random: () => next().readUIntBE(0, 6) / 2 ** 48,
    signal: execution.cancel.signal,
  }
}
