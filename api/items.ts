// The items of a POST: from the request's bytes to events or refusals, one for one and in order.

import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { draftEvent, type EventDraft, type Sender } from '../producers/events.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { type Problem, problemOf } from './problem.ts'
import { cutMember, elementsOf, linesOf } from './raw-json.ts'

const optionalText = (about: string) => z.string().nullish().describe(about)
const optionalUuid = (about: string) => z.guid('is not a UUID').nullish().describe(about)

export const eventItemShape = z
  .strictObject({
    event_name: z.string().describe('What happened, in the past tense: order.approved.'),
    execution_id: optionalUuid('The execution; or give workflow_name and business_key.'),
    workflow_name: optionalText('With business_key: the execution is the one with this key.'),
    business_key: optionalText("The sender's own key of the execution within its workflow."),
    event_id: optionalUuid('The same id again is recognised as a duplicate. Without it: from the idempotency key, else a new one.'),
    idempotency_key: optionalText("This event's own idempotency key; goes before the request's Idempotency-Key."),
    event_type: optionalText('A free label; default `workflow`.'),
    from_state: optionalText('State the sender saw.'),
    to_state: optionalText('State this event moves the execution to.'),
    user_id: optionalText('Who caused it.'),
    payload: z.unknown().optional().describe('Any JSON value; its text is kept byte for byte, numbers with every digit.'),
    created_at: z
      .union([z.iso.datetime({ offset: true, error: 'is not ISO 8601 with a time zone' }), z.int()], {
        error: 'is neither ISO 8601 with a time zone nor whole milliseconds',
      })
      .nullish()
      .describe('When it happened: ISO 8601 with a time zone, or milliseconds since 1970 UTC; default now.'),
    causation_id: optionalText('Id of the event that caused this one.'),
    correlation_id: optionalText('Groups executions that belong together.'),
  })
  .meta({ id: 'EventItem' })

export type Item = { state: 'event'; event: WorkflowEvent } | { state: 'refused'; problem: Problem }

const refused = (problem: Problem): Item => ({ state: 'refused', problem })
const invalid = (detail: string, extensions?: Record<string, unknown>) => refused(problemOf('event-invalid', detail, extensions))

/** A date that zod has checked, or milliseconds. */
const timeOf = (at: string | number | null | undefined) => (typeof at === 'string' ? Date.parse(at) : at)

function shapeFaults(error: z.ZodError): Item {
  const errors = error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ field: key, message: 'unknown field' }))
      : [{ field: issue.path.join('.'), message: issue.message }],
  )
  const detail = errors.map(({ field, message }) => (field === '' ? message : `${field}: ${message}`)).join('; ')
  return invalid(detail, { errors })
}

/** One item's text → its event. `executionId` is the one of the URL; `where` names a line in faults. */
export function readItem(text: string, sender: Sender, index: number, executionId?: string, where = ''): Item {
  const { rest, source, repeated } = cutMember(text, 'payload')
  if (repeated !== undefined) return invalid(`${where}${repeated} comes twice`)
  let value: unknown
  try {
    value = JSON.parse(rest)
  } catch (error) {
    return invalid(`${where}not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const shaped = eventItemShape.safeParse(value)
  if (!shaped.success) return shapeFaults(shaped.error)
  const draft: EventDraft = { ...shaped.data, created_at: timeOf(shaped.data.created_at), payload: source ?? null }
  if (executionId !== undefined) {
    if (draft.execution_id && draft.execution_id.toLowerCase() !== executionId) return invalid('execution_id is not the one of the URL')
    draft.execution_id = executionId
  }
  const drafted = draftEvent(draft, sender, index)
  return drafted.state === 'event' ? drafted : refused(problemOf(drafted.code, drafted.detail))
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function textOf(body: Uint8Array): string {
  try {
    return decoder.decode(body)
  } catch (cause) {
    throw new RefoldError('request-invalid', 'the body is not UTF-8', { cause })
  }
}

/** An array holding something that is not JSON is no array: nothing of it is taken. */
function readElement(element: string, index: number, sender: Sender, executionId?: string): Item {
  const item = readItem(element, sender, index, executionId)
  if (item.state === 'event') return item
  try {
    JSON.parse(element)
    return item
  } catch (cause) {
    const fault = cause instanceof Error ? cause.message : String(cause)
    throw new RefoldError('request-invalid', `the body is not a JSON array of events: item ${index}: ${fault}`, { cause })
  }
}

/** Items read before others on this thread get their turn; a large body is seconds of work. */
const TURN = 200

/**
 * All items of a body, in order. A line of NDJSON that is not JSON is that item's refusal; an array that is not JSON is
 * the request's (RefoldError `request-invalid`).
 */
export async function readItems(body: Uint8Array, format: 'array' | 'lines', sender: Sender, executionId?: string): Promise<Item[]> {
  const text = textOf(body)
  const items: Item[] = []
  for (const { text: item, where } of cut(text, format)) {
    const index = items.length
    items.push(format === 'lines' ? readItem(item, sender, index, executionId, where) : readElement(item, index, sender, executionId))
    if (items.length % TURN === 0) await setImmediate()
  }
  return items
}

function cut(text: string, format: 'array' | 'lines'): { text: string; where?: string }[] {
  if (format === 'lines') return linesOf(text).map(({ line, text: item }) => ({ text: item, where: `line ${line}: ` }))
  const found = elementsOf(text)
  if ('fault' in found) throw new RefoldError('request-invalid', `the body is not a JSON array of events: ${found.fault}`)
  return found.elements.map((element) => ({ text: element }))
}
