// An accepted event as projections see it.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { parsePlain } from '../workflow/json.ts'

/** What only the audit knows; of projections that declare `uses: ['audit']`. */
export type FromAudit = { seq: number; from: string; to: string }

export class ProjectionEvent {
  readonly #event: WorkflowEvent
  readonly #audit: FromAudit | undefined
  #parsed: unknown
  #isParsed = false
  readonly partition: number
  readonly offset: number
  /** Milliseconds since 1970 UTC. */
  readonly appendedAt: number

  constructor(event: WorkflowEvent, place: { partition: number; offset: number; appendedAt: number }, audit?: FromAudit) {
    this.#event = event
    this.#audit = audit
    this.partition = place.partition
    this.offset = place.offset
    this.appendedAt = place.appendedAt
  }

  get id(): string {
    return this.#event.event_id
  }
  get tenant(): string {
    return this.#event.tenant
  }
  get executionId(): string {
    return this.#event.execution_id
  }
  get name(): string {
    return this.#event.event_name
  }
  get type(): string {
    return this.#event.event_type
  }
  /** As its sender wrote it; '' = none. The computed ones: `audit`. */
  get fromState(): string {
    return this.#event.from_state
  }
  get toState(): string {
    return this.#event.to_state
  }
  get userId(): string | null {
    return this.#event.user_id
  }
  /** Milliseconds since 1970 UTC. */
  get createdAt(): number {
    return this.#event.created_at
  }
  get correlationId(): string | null {
    return this.#event.correlation_id
  }
  get causationId(): string | null {
    return this.#event.causation_id
  }
  get workflow(): string | null {
    return this.#event.workflow_name
  }
  get businessKey(): string | null {
    return this.#event.business_key
  }
  /** 0 = an input, else its number among the decisions. */
  get decision(): number {
    return this.#event.decision
  }
  /** JSON text as it was sent; null without one. */
  get payloadText(): string | null {
    return this.#event.payload
  }
  /** Parsed when first asked for; numbers are doubles. */
  get payload(): unknown {
    if (!this.#isParsed) {
      this.#parsed = this.#event.payload === null ? null : parsePlain(this.#event.payload)
      this.#isParsed = true
    }
    return this.#parsed
  }
  /** seq and the states as the recorder's fold computed them. Throws unless the projection declares `uses: ['audit']`. */
  get audit(): FromAudit {
    if (!this.#audit) throw new TypeError("seq and computed states are the audit's: declare uses: ['audit'] in the projection")
    return this.#audit
  }
}
