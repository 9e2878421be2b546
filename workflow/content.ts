// The content of a record: what must be equal for a second record under the same id to be a duplicate. Part of the
// format: golden digests in test/schemas/golden.

import { hash } from 'node:crypto'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { isJsonObject, parseJsonVerbatim } from './json.ts'

/** Length prefix that stands for null. */
const ABSENT = 0xffffffff

/** SHA-256, lower-case hex, of texts each preceded by its UTF-8 length (4 bytes, big endian); null is length 2³²−1. */
export function digestOf(parts: readonly (string | null)[]): string {
  let size = 0
  for (const part of parts) size += 4 + (part === null ? 0 : Buffer.byteLength(part))
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const part of parts) {
    const length = part === null ? 0 : bytes.write(part, at + 4)
    at = bytes.writeUInt32BE(part === null ? ABSENT : length, at) + length
  }
  return hash('sha256', bytes, 'hex')
}

/**
 * What of a payload counts. Of `action.scheduled` only name, key, group and the arguments as the author wrote them:
 * retry policy, timeout, guarantee and parsed parameters are taken from the accepted record, so a changed default
 * diverges nobody.
 */
function countedPayload(event: WorkflowEvent): string | null {
  if (event.event_name !== 'action.scheduled' || event.decision === 0 || event.payload === null) return event.payload
  const payload = parseJsonVerbatim(event.payload)
  if (!isJsonObject(payload)) return event.payload
  return JSON.stringify([payload['name'] ?? null, payload['key'] ?? null, payload['group'] ?? null, payload['arguments'] ?? null])
}

/** Digests of decisions that this process made: they are read back as the very same objects. */
const made = new WeakMap<WorkflowEvent, string>()

/** Keeps the digest of a decision with it. Nobody changes it afterwards. */
export const keepContent = (event: WorkflowEvent, content: string) => void made.set(event, content)

/** The content digest of an event whose payload is known to be JSON. Never covers created_at, user, causation, correlation. */
export function contentOf(event: WorkflowEvent): string {
  const known = event.decision > 0 ? made.get(event) : undefined
  return (
    known ??
    digestOf([
      event.tenant,
      event.execution_id,
      event.event_name,
      event.event_type,
      event.from_state,
      event.to_state,
      countedPayload(event),
      String(event.decision),
    ])
  )
}

/** `decision_chain` of the decision after one with this chain and content. The first decision's chain is ''. */
export const nextChain = (chain: string, content: string) => digestOf([chain, content])

const chains = new WeakMap<WorkflowEvent, { content: string; next: string }>()

/** `decision_chain` of the decision after this one, whose content is given; kept with it. */
export function chainAfter(event: WorkflowEvent, content: string): string {
  const known = chains.get(event)
  if (known?.content === content) return known.next
  const next = nextChain(event.decision_chain, content)
  chains.set(event, { content, next })
  return next
}
