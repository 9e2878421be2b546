// Rows of the record tables: audit, verdicts, heads.

import type { AuditRow, Folded, VerdictRow } from '../consumers/recorder-fold.ts'
import { LIMITS } from '../workflow/limits.ts'
import { bytea, timestamp } from './copy.ts'
import type { Upsert, Value } from './upsert.ts'

export const AUDIT: Upsert = {
  table: 'refold.workflow_events',
  columns: {
    tenant: 'text',
    execution_id: 'uuid',
    seq: 'bigint',
    event_id: 'uuid',
    event_name: 'text',
    event_type: 'text',
    from_state: 'text',
    to_state: 'text',
    sent_from_state: 'text',
    sent_to_state: 'text',
    user_id: 'text',
    payload: 'text',
    created_at: 'timestamptz',
    causation_id: 'text',
    correlation_id: 'text',
    workflow_name: 'text',
    business_key: 'text',
    decision: 'int',
    content: 'bytea',
    partition: 'int',
    log_offset: 'bigint',
    appended_at: 'timestamptz',
  },
}

export function auditValues({ event, seq, from, to, content, partition, offset, appendedAt }: AuditRow): Value[] {
  return [
    event.tenant,
    event.execution_id,
    seq,
    event.event_id,
    event.event_name,
    event.event_type,
    from,
    to,
    event.from_state === from ? null : event.from_state,
    event.to_state === to ? null : event.to_state,
    event.user_id,
    event.payload,
    timestamp(event.created_at),
    event.causation_id,
    event.correlation_id,
    event.workflow_name,
    event.business_key,
    event.decision,
    `\\x${content}`,
    partition,
    offset,
    timestamp(appendedAt),
  ]
}

export const VERDICTS: Upsert = {
  table: 'refold.event_verdicts',
  columns: {
    partition: 'int',
    log_offset: 'bigint',
    verdict: 'text',
    reason: 'text',
    detail: 'text',
    tenant: 'text',
    execution_id: 'text',
    event_id: 'text',
    event_name: 'text',
    record_key: 'bytea',
    record_value: 'bytea',
    appended_at: 'timestamptz',
  },
}

/** Characters kept of a text that hostile bytes may have made long; of ids, which an index must hold, fewer. */
const LONGEST_TEXT = 1000
const LONGEST_ID = 64

/** Text from a hostile record as Postgres can hold it: no NUL, no half surrogate pairs, not without end. */
function storable(text: string | undefined, longest = LONGEST_TEXT): string | null {
  return text === undefined ? null : text.slice(0, longest).replaceAll('\0', '\ufffd').toWellFormed()
}

/**
 * Whose a refused record is. A text that no execution can have as its tenant is nobody's: '' above all, which is what the
 * setting behind row-level security holds while no tenant is set.
 */
export function tenantOf(event: { tenant: string } | undefined): string | null {
  return event && event.tenant !== '' && storable(event.tenant, LIMITS.tenant) === event.tenant ? event.tenant : null
}

export function verdictValues({ verdict, record, event }: VerdictRow): Value[] {
  const kept = verdict.verdict !== 'duplicate'
  return [
    record.partition,
    record.offset,
    verdict.verdict,
    verdict.reason,
    storable(verdict.detail),
    tenantOf(event),
    storable(event?.execution_id, LONGEST_ID),
    storable(event?.event_id, LONGEST_ID),
    storable(event?.event_name),
    kept && record.key ? bytea(record.key) : null,
    kept && record.value ? bytea(record.value) : null,
    timestamp(record.appendedAt),
  ]
}

export const HEADS: Upsert = {
  table: 'refold.execution_heads',
  columns: {
    tenant: 'text',
    execution_id: 'uuid',
    partition: 'int',
    seq: 'bigint',
    phase: 'text',
    decision: 'int',
    next_chain: 'text',
    open_timers: 'json',
    last_input: 'bytea',
  },
  key: ['tenant', 'execution_id'],
  keeps: ['partition'],
}

export const headValues = ({ tenant, executionId, partition, head }: Folded): Value[] => [
  tenant,
  executionId,
  partition,
  head.seq,
  head.phase,
  head.decision,
  head.nextChain,
  JSON.stringify(Object.fromEntries(head.openTimers)),
  bytea(Buffer.from(head.input, 'hex')),
]
