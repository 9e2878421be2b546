// [produce] → log → recorder → state → REST
//
// What an outside sender says of an event, made into the record that the log keeps. Used by REST and by the import.
// The same key, index and execution give the same event id, on any machine and after any crash.

import { asError } from '../errors.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import type { Appended, Log, LogAppend } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { eventIdOf, executionIdOf, isOwnId, newId } from '../workflow/ids.ts'
import { checkEvent } from '../workflow/limits.ts'
import { isReservedName } from '../workflow/names.ts'
import { partitionOf } from '../workflow/partition.ts'

/** An event as a sender describes it. Absent or null: not said. */
export type EventDraft = {
  event_name: string
  execution_id?: string | null | undefined
  workflow_name?: string | null | undefined
  business_key?: string | null | undefined
  event_id?: string | null | undefined
  /** This event's own idempotency key; goes before the request's. */
  idempotency_key?: string | null | undefined
  event_type?: string | null | undefined
  from_state?: string | null | undefined
  to_state?: string | null | undefined
  user_id?: string | null | undefined
  /** JSON text, kept byte for byte. */
  payload?: string | null | undefined
  /** Milliseconds since 1970 UTC. */
  created_at?: number | null | undefined
  causation_id?: string | null | undefined
  correlation_id?: string | null | undefined
}

/** Who sends, and what holds for the whole request. */
export type Sender = {
  tenant: string
  /** created_at of events that don't say it, ms since 1970 UTC. */
  now: number
  /** The request's Idempotency-Key; with the event's place in the request it gives the event id. */
  idempotencyKey?: string | undefined
}

export type Drafted =
  | { state: 'event'; event: WorkflowEvent }
  | { state: 'refused'; code: 'event-invalid' | 'name-reserved'; detail: string }

const invalid = (detail: string): Drafted => ({ state: 'refused', code: 'event-invalid', detail })

/** The execution a draft belongs to: the id it gives, or the one derived from workflow and key. */
function executionOf({ execution_id, workflow_name, business_key }: EventDraft, tenant: string): string | undefined {
  if (execution_id) return execution_id.toLowerCase()
  return workflow_name && business_key ? executionIdOf(tenant, workflow_name, business_key) : undefined
}

function idOf(draft: EventDraft, executionId: string, sender: Sender, index: number): string {
  if (draft.event_id) return draft.event_id.toLowerCase()
  if (draft.idempotency_key) return eventIdOf(sender.tenant, executionId, draft.idempotency_key, 0)
  if (sender.idempotencyKey) return eventIdOf(sender.tenant, executionId, sender.idempotencyKey, index)
  return newId()
}

/** The record of a draft; `index` is its place in the request. Refused when it breaks a limit of the format. */
export function draftEvent(draft: EventDraft, sender: Sender, index: number): Drafted {
  if (isReservedName(draft.event_name)) return { state: 'refused', code: 'name-reserved', detail: `event_name is ${draft.event_name}` }
  if (draft.payload !== undefined && draft.payload !== null && typeof draft.payload !== 'string')
    return invalid('payload is no text: give JSON as text, so that no digit is lost')
  const executionId = executionOf(draft, sender.tenant)
  if (executionId === undefined) return invalid('it needs execution_id, or workflow_name and business_key')
  const event: WorkflowEvent = {
    event_id: idOf(draft, executionId, sender, index),
    tenant: sender.tenant,
    execution_id: executionId,
    event_name: draft.event_name,
    event_type: draft.event_type ?? 'workflow',
    from_state: draft.from_state ?? '',
    to_state: draft.to_state ?? '',
    user_id: draft.user_id ?? null,
    payload: draft.payload ?? null,
    created_at: draft.created_at ?? sender.now,
    causation_id: draft.causation_id ?? null,
    correlation_id: draft.correlation_id ?? null,
    workflow_name: draft.workflow_name ?? null,
    business_key: draft.business_key ?? null,
    decision: 0,
    decision_chain: '',
    decision_seq: 0,
    decision_input: '',
  }
  const fault = checkEvent(event)
  if (fault) return invalid(fault.detail)
  if (isOwnId(event.event_id)) return invalid('event_id is a version 8 UUID; those are ids of our own events')
  return { state: 'event', event }
}

export type EventProducer = {
  /** Resolves once all in-sync replicas have the record. Errors are those of `Log.append`. */
  append(event: WorkflowEvent, headers?: Readonly<Record<string, string>>): Promise<Appended>
}

export type EventProducerOptions = {
  log: Pick<Log, 'append'>
  topic: string
  /** The topic's pinned partition count. */
  partitions: number
  encode: (event: WorkflowEvent) => Uint8Array
  /** Told of each event that is about to be appended; it may still fail. */
  writing?: (event: WorkflowEvent, partition: number, bytes: Uint8Array) => void
  /** Told of each event once it is safe in the log. */
  written?: (event: WorkflowEvent, appended: Appended) => void
  faults?: Faults
}

/** Appends events to the log, each in the partition of its execution. */
export function createEventProducer(options: EventProducerOptions): EventProducer {
  const { log, topic, partitions, encode, writing, written, faults = NO_FAULTS } = options

  function recordOf(event: WorkflowEvent, headers: LogAppend['headers']): LogAppend {
    const key = event.execution_id
    const record = { topic, partition: partitionOf(key, partitions), key, value: encode(event) }
    writing?.(event, record.partition, record.value)
    return headers ? { ...record, headers } : record
  }
  // Without faults nothing stands between the caller and the log's own promise: a large request makes many of them.
  if (faults === NO_FAULTS)
    return {
      append(event, headers) {
        try {
          const appending = log.append(recordOf(event, headers))
          return written ? appending.then((appended) => (written(event, appended), appended)) : appending
        } catch (error) {
          return Promise.reject(asError(error))
        }
      },
    }
  return {
    async append(event, headers) {
      const record = recordOf(event, headers)
      // Only a fault's promise is waited for: a pause here would let later events of the execution go first.
      const appending = faults.at('api:event:appending')
      if (appending) await appending
      const appended = await log.append(record)
      await faults.at('api:event:appended')
      written?.(event, appended)
      return appended
    },
  }
}
