// A row of workflow_executions, read back as the state that the fold goes on from.

import { type ExecutionState, type ExecutionStatus, initial } from '../workflow/execution.ts'
import { isJsonObject, parseJson } from '../workflow/json.ts'

/** Columns of a row `e`, as DerivedStateRow has them. */
export const DERIVED_STATE = `
  e.status, e.current_state, e.data::text AS data, e.workflow_name, e.workflow_version, e.business_key, e.correlation_id, e.last_seq,
  e.result::text AS result, e.error::text AS error,
  (extract(epoch FROM e.opened_at) * 1000)::bigint AS opened_at, (extract(epoch FROM e.changed_at) * 1000)::bigint AS changed_at,
  (extract(epoch FROM e.created_until) * 1000)::bigint AS created_until`

export type DerivedStateRow = {
  tenant: string
  execution_id: string
  last_seq: string | null
  status: ExecutionStatus
  current_state: string
  data: string
  workflow_name: string | null
  workflow_version: string | null
  business_key: string | null
  correlation_id: string | null
  result: string | null
  error: string | null
  opened_at: string
  changed_at: string
  created_until: string
}

const fromJson = (text: string | null): unknown => (text === null ? null : parseJson(text))

export function stateOfRow(row: DerivedStateRow, seq: number, mode: ExecutionState['mode']): ExecutionState {
  const data = fromJson(row.data)
  return {
    ...initial(row.tenant, row.execution_id),
    mode,
    status: row.status,
    currentState: row.current_state,
    data: isJsonObject(data) ? data : {},
    seq,
    workflow: row.workflow_name,
    version: row.workflow_version,
    key: row.business_key,
    correlationId: row.correlation_id,
    result: fromJson(row.result),
    error: fromJson(row.error),
    openedAt: Number(row.opened_at),
    changedAt: Number(row.changed_at),
    createdUntil: Number(row.created_until),
  }
}
