// An execution's history as the audit holds it, and its fold.

import type { ClientBase, Pool } from 'pg'
import { applyEvent, type ExecutionState, type FoldedEvent, initial } from '../workflow/execution.ts'

/** Rows read at a time. */
const PAGE = 1000

const PAGE_OF_HISTORY = `
  SELECT seq, (extract(epoch FROM created_at) * 1000)::bigint AS created_at, event_name, to_state, payload, decision, correlation_id, workflow_name, business_key,
         (extract(epoch FROM appended_at) * 1000)::bigint AS appended_at
  FROM refold.workflow_events WHERE tenant = $1 AND execution_id = $2 AND seq > $3 ORDER BY seq LIMIT ${PAGE}`

type Row = Omit<FoldedEvent, 'created_at'> & { seq: string; created_at: string; appended_at: string }

/** The state of an execution, folded from its first event to its newest. */
export async function foldHistory(client: ClientBase | Pool, tenant: string, executionId: string): Promise<ExecutionState> {
  let state = initial(tenant, executionId)
  for (;;) {
    const { rows } = await client.query<Row>(PAGE_OF_HISTORY, [tenant, executionId, state.seq])
    for (const { seq, appended_at: appendedAt, created_at: createdAt, ...event } of rows)
      state = applyEvent(state, { event: { ...event, created_at: Number(createdAt) }, seq: Number(seq), appendedAt: Number(appendedAt) })
    if (rows.length < PAGE) return state
  }
}
