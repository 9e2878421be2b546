// What kind of fact an event is, and what must be read from its payload before `accept` can judge it.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { contentOf, keepContent } from './content.ts'
import { decisionIdOf, firedIdOf, isOwnId, outcomeIdOf, startIdOf } from './ids.ts'
import { isJsonObject, type JsonObject, parseJson } from './json.ts'
import type { Fault } from './limits.ts'
import { isDecision, isOwnInput, isRequest, isReservedName, type OwnInputName } from './names.ts'

/** The part an event plays; a decision may open or close a timer, named by the decision that started it. */
export type Role =
  | { kind: 'outside' }
  | { kind: 'request' }
  | { kind: 'started' }
  | { kind: 'outcome'; action: number; attempt: number }
  | { kind: 'fired'; timer: number }
  | { kind: 'decision'; timer?: { opens: number; fireAt: number } | { closes: number } }

/** An event within the limits of the format, with its role and content digest (hex). */
export type Classified = { event: WorkflowEvent; role: Role; content: string }

type Result<T> = T | { fault: Fault }

const badPayload = (detail: string) => ({ fault: { reason: 'bad-payload', detail } satisfies Fault })
const reservedId = (detail: string) => ({ fault: { reason: 'reserved-id', detail } satisfies Fault })
const reservedName = (detail: string) => ({ fault: { reason: 'reserved-name', detail } satisfies Fault })

/** Payloads by their event: judging, folding and replaying all ask for the same one. */
const payloads = new WeakMap<object, { text: string; object: JsonObject | undefined }>()

/** The payload as an object, which nobody may change; its text was found to be JSON by `checkEvent`. */
export function payloadObject(event: { payload: string | null }): JsonObject | undefined {
  const { payload: text } = event
  if (text === null) return undefined
  const known = payloads.get(event)
  if (known?.text === text) return known.object
  const value = /^\s*\{/.test(text) ? parseJson(text) : undefined
  const object = isJsonObject(value) ? value : undefined
  payloads.set(event, { text, object })
  return object
}

const whole = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined

const ISO_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Milliseconds of an ISO 8601 time in UTC with milliseconds, the one form our payloads carry. */
function timeOf(value: unknown): number | undefined {
  const time = typeof value === 'string' && ISO_UTC.test(value) ? Date.parse(value) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

function ownInput(name: OwnInputName, event: WorkflowEvent): Result<{ role: Role; id: string }> {
  const { tenant, execution_id: execution } = event
  const payload = payloadObject(event)
  switch (name) {
    case 'workflow.started':
      if (typeof payload?.['workflow_name'] !== 'string' || typeof payload['workflow_version'] !== 'string')
        return badPayload('workflow.started needs workflow_name and workflow_version')
      return { role: { kind: 'started' }, id: startIdOf(tenant, execution) }
    case 'action.completed':
    case 'action.attemptFailed': {
      const action = whole(payload?.['action'])
      const attempt = whole(payload?.['attempt'])
      if (action === undefined || attempt === undefined) return badPayload(`${name} needs action and attempt, whole numbers from 1`)
      return { role: { kind: 'outcome', action, attempt }, id: outcomeIdOf(tenant, execution, action, attempt) }
    }
    case 'timer.fired': {
      const timer = whole(payload?.['timer_id'])
      if (timer === undefined) return badPayload('timer.fired needs timer_id, a whole number from 1')
      return { role: { kind: 'fired', timer }, id: firedIdOf(tenant, execution, timer) }
    }
    default:
      return name satisfies never
  }
}

function decisionRole(event: WorkflowEvent): Result<Role> {
  if (event.event_name === 'timer.started') {
    const fireAt = timeOf(payloadObject(event)?.['fire_at'])
    if (fireAt === undefined) return badPayload('timer.started needs fire_at, a time like 2026-01-31T08:00:00.000Z')
    return { kind: 'decision', timer: { opens: event.decision, fireAt } }
  }
  if (event.event_name === 'timer.cancelled') {
    const closes = whole(payloadObject(event)?.['timer_id'])
    if (closes === undefined) return badPayload('timer.cancelled needs timer_id, a whole number from 1')
    return { kind: 'decision', timer: { closes } }
  }
  return { kind: 'decision' }
}

function roleOf(event: WorkflowEvent): Result<Role> {
  const { event_name: name, event_id: id } = event
  if (event.decision > 0) {
    if (isReservedName(name) && !isDecision(name)) return reservedName(`${name} is not a decision`)
    if (id !== decisionIdOf(event.tenant, event.execution_id, event.decision))
      return reservedId(`the id of decision ${event.decision} is not the one derived from it`)
    return decisionRole(event)
  }
  if (isOwnInput(name)) {
    const own = ownInput(name, event)
    if ('fault' in own) return own
    return own.id === id ? own.role : reservedId(`the id of ${name} is not the one derived from it`)
  }
  if (isOwnId(id)) return reservedId('version 8 UUIDs are ids of ours, this is an outside event')
  if (isRequest(name)) return { kind: 'request' }
  return isReservedName(name) ? reservedName(`${name} is not an input`) : { kind: 'outside' }
}

/** Of events that this process makes and reads back, by the event, which nobody changes: its runtime and its recorder ask for them. */
const classes = new WeakMap<WorkflowEvent, Classified>()

/** Role and content of an event that keeps the limits of the format; or why it is quarantined. `known`: its content, where that is kept. */
export function classify(event: WorkflowEvent, known?: string): Result<Classified> {
  const before = known === undefined ? classes.get(event) : undefined
  if (before) return before
  const role = roleOf(event)
  if ('fault' in role) return role
  return { event, role, content: known ?? contentOf(event) }
}

/** Classifies an event that this process is about to append, or has: it is asked for again. */
export function classifyOwn(event: WorkflowEvent): Result<Classified> {
  const classified = classify(event)
  return 'fault' in classified ? classified : keep(classified)
}

/** Classifies a decision that this process just made, under the id derived from it; throws RangeError where it would be quarantined. */
export function classifyMade(event: WorkflowEvent): Classified {
  const role = decisionRole(event)
  if ('fault' in role) throw new RangeError(role.fault.detail)
  return keep({ event, role, content: contentOf(event) })
}

/** The same decision as it is appended behind the input that causes it, whose content is `input`: its own does not change. */
export function madeAhead(event: WorkflowEvent, seq: number, input: string): WorkflowEvent {
  const copy = { ...event, decision_seq: seq, decision_input: input }
  const before = classes.get(event)
  if (before) keep({ ...before, event: copy })
  return copy
}

function keep(classified: Classified): Classified {
  const { event, content } = classified
  if (event.decision > 0) keepContent(event, content)
  classes.set(event, classified)
  return classified
}
