// Limits of the format: constants, never settings, so that every reader at every time gives the same verdict.

import type { QuarantineReason } from '../schemas/decoded.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { isUuid } from './ids.ts'
import { jsonDepth } from './json.ts'

export const LIMITS = {
  /** Characters (UTF-16 units) of tenant. */
  tenant: 128,
  /** Characters of event_name, event_type, states, user_id, workflow_name, causation_id, correlation_id. */
  name: 256,
  /** Characters of business_key: still fits a Postgres index entry when each takes four bytes. */
  businessKey: 512,
  /** Bytes of payload in UTF-8. */
  payloadBytes: 1_000_000,
  /** Levels of arrays and objects in a payload. */
  payloadDepth: 64,
  /** created_at, milliseconds: 0001-01-01 to 9999-12-31, what ISO 8601 and Postgres both hold. */
  earliest: -62_135_596_800_000,
  latest: 253_402_300_799_999,
  decisions: 2_147_483_647,
} as const

export type Fault = { reason: QuarantineReason; detail: string }

// eslint-disable-next-line no-control-regex -- control characters are exactly what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/
const CHAIN = /^([0-9a-f]{64})?$/
const DIGEST = /^[0-9a-f]{64}$/

type Field = keyof WorkflowEvent

function textFault(field: Field, value: string | null, longest: number, required: boolean): Fault | undefined {
  if (value === null) return undefined
  if (required && value === '') return { reason: 'bad-name', detail: `${field} is empty` }
  if (value.length > longest) return { reason: 'too-large', detail: `${field} has ${value.length} characters, at most ${longest}` }
  if (CONTROL.test(value)) return { reason: 'not-storable', detail: `${field} has a control character` }
  if (!value.isWellFormed()) return { reason: 'not-storable', detail: `${field} has half a surrogate pair` }
  return undefined
}

function payloadFault(payload: string | null): Fault | undefined {
  if (payload === null) return undefined
  const bytes = Buffer.byteLength(payload)
  if (bytes > LIMITS.payloadBytes) return { reason: 'too-large', detail: `payload has ${bytes} bytes, at most ${LIMITS.payloadBytes}` }
  const depth = jsonDepth(payload)
  if (depth > LIMITS.payloadDepth)
    return { reason: 'too-deep', detail: `payload is nested ${depth} levels deep, at most ${LIMITS.payloadDepth}` }
  return jsonFault(payload)
}

/** NUL and half surrogate pairs, also when escaped: Postgres could keep the text but not read a value out of it. */
function jsonFault(payload: string): Fault | undefined {
  const escaped = payload.includes('\\u')
  let unstorable = !payload.isWellFormed()
  const look = (text: string) => {
    unstorable ||= text.includes('\0') || !text.isWellFormed()
  }
  try {
    if (!escaped) JSON.parse(payload)
    else {
      JSON.parse(payload, (key: string, value: unknown) => {
        look(key)
        if (typeof value === 'string') look(value)
        return value
      })
    }
  } catch (error) {
    return { reason: 'bad-payload', detail: `payload is not JSON: ${error instanceof Error ? error.message : String(error)}` }
  }
  return unstorable ? { reason: 'not-storable', detail: 'payload has NUL or half a surrogate pair' } : undefined
}

/** A text that an execution may have as its tenant. */
export const isTenant = (value: unknown): value is string =>
  typeof value === 'string' && textFault('tenant', value, LIMITS.tenant, true) === undefined

/** Events that break none: whoever makes one looks, and so does whoever takes it in the same process. Nobody changes them. */
const sound = new WeakSet<WorkflowEvent>()

/** The first limit of the format that an event breaks, of one that is made here: used before it is appended. */
export function checkEvent(event: WorkflowEvent): Fault | undefined {
  if (sound.has(event)) return undefined
  const fault = firstFault(event)
  if (!fault) sound.add(event)
  return fault
}

/** The same of one that was read; used by `accept`. */
export const faultOf = (event: WorkflowEvent): Fault | undefined => (sound.has(event) ? undefined : firstFault(event))

function firstFault(event: WorkflowEvent): Fault | undefined {
  for (const field of ['event_id', 'execution_id'] as const) {
    if (!isUuid(event[field])) return { reason: 'bad-id', detail: `${field} is not a UUID in lower case` }
  }
  const text =
    textFault('tenant', event.tenant, LIMITS.tenant, true) ??
    textFault('event_name', event.event_name, LIMITS.name, true) ??
    textFault('event_type', event.event_type, LIMITS.name, false) ??
    textFault('from_state', event.from_state, LIMITS.name, false) ??
    textFault('to_state', event.to_state, LIMITS.name, false) ??
    textFault('user_id', event.user_id, LIMITS.name, false) ??
    textFault('causation_id', event.causation_id, LIMITS.name, false) ??
    textFault('correlation_id', event.correlation_id, LIMITS.name, false) ??
    textFault('workflow_name', event.workflow_name, LIMITS.name, true) ??
    textFault('business_key', event.business_key, LIMITS.businessKey, true)
  if (text) return text
  if (!Number.isSafeInteger(event.created_at) || event.created_at < LIMITS.earliest || event.created_at > LIMITS.latest)
    return { reason: 'bad-date', detail: `created_at ${event.created_at} is outside the years 1 to 9999` }
  if (!Number.isInteger(event.decision) || event.decision < 0 || event.decision > LIMITS.decisions)
    return { reason: 'bad-decision', detail: `decision ${event.decision} is not 0, 1, 2 …` }
  if (!CHAIN.test(event.decision_chain) || (event.decision === 0 && event.decision_chain !== ''))
    return { reason: 'bad-decision', detail: 'decision_chain is not one of a decision' }
  const isAlone = event.decision_seq === 0 && event.decision_input === ''
  const isAhead =
    event.decision > 0 && Number.isSafeInteger(event.decision_seq) && event.decision_seq > 0 && DIGEST.test(event.decision_input)
  if (!isAlone && !isAhead) return { reason: 'bad-decision', detail: 'decision_seq and decision_input are not those of a decision' }
  return payloadFault(event.payload)
}
