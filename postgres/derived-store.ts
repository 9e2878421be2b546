// audit → follower → [Postgres]: a generation of the derived tables (the port DerivedStore of consumers/derived.ts)

import type { ClientBase, Pool } from 'pg'
import type { AuditEvent, DerivedStore } from '../consumers/derived.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { executionKey, type ExecutionState } from '../workflow/execution.ts'
import { startIdOf } from '../workflow/ids.ts'
import { DERIVED_STATE, type DerivedStateRow, stateOfRow } from './derived-state.ts'
import { derivedReader, putExecutions, putSnapshots, statement } from './derived-tables.ts'
import { inTransaction } from './pool.ts'
import { READER } from './recorder-store.ts'
import { putWork, readWork } from './recorder-work.ts'

const PLACES = `
  SELECT n.partition, n.next_offset AS next, coalesce(r.next_offset, 0) AS recorded
  FROM refold.checkpoints n LEFT JOIN refold.checkpoints r ON r.reader = '${READER}' AND r.partition = n.partition
  WHERE n.reader = $1 ORDER BY n.partition`

const MOVE = `
  UPDATE refold.checkpoints SET next_offset = $4, moved_at = now() WHERE reader = $1 AND partition = $2 AND next_offset = $3`

const EVENTS = `
  SELECT event_id, tenant, execution_id, seq, event_name, event_type, from_state, to_state, user_id, payload,
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at, causation_id, correlation_id, workflow_name, business_key, decision,
         log_offset, (extract(epoch FROM appended_at) * 1000)::bigint AS appended_at
  FROM refold.workflow_events WHERE partition = $1 AND log_offset >= $2 AND log_offset < $3 ORDER BY log_offset LIMIT $4`

// Driven: its start is among the events folded. (A head tells the newest phase, which may be ahead.)
const STATES = `
  SELECT e.tenant, e.execution_id, s.seq IS NOT NULL AS is_driven, ${DERIVED_STATE}
  FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS wanted (tenant, execution_id, start_id)
  JOIN DERIVED.workflow_executions e USING (tenant, execution_id)
  LEFT JOIN refold.workflow_events s
    ON s.tenant = wanted.tenant AND s.execution_id = wanted.execution_id AND s.event_id = wanted.start_id AND s.seq <= e.last_seq`

type EventRow = Omit<WorkflowEvent, 'created_at' | 'decision_chain'> & {
  seq: string
  created_at: string
  log_offset: string
  appended_at: string
}

/** `pool` connects as refold_engine. */
export function createDerivedStore(pool: Pool, generation: number): DerivedStore {
  const reader = derivedReader(generation)

  async function states(
    client: ClientBase,
    wanted: readonly { tenant: string; executionId: string }[],
  ): Promise<ReadonlyMap<string, ExecutionState>> {
    const { rows } = await client.query<DerivedStateRow & { is_driven: boolean }>({
      ...statement(generation, 'derived-states', STATES),
      values: [
        wanted.map(({ tenant }) => tenant),
        wanted.map(({ executionId }) => executionId),
        wanted.map(({ tenant, executionId }) => startIdOf(tenant, executionId)),
      ],
    })
    return new Map(
      rows.map((row) => [
        executionKey(row.tenant, row.execution_id),
        stateOfRow(row, Number(row.last_seq), row.is_driven ? 'driven' : 'folded'),
      ]),
    )
  }

  return {
    async places() {
      const { rows } = await pool.query<{ partition: number; next: string; recorded: string }>(PLACES, [reader])
      return rows.map(({ partition, next, recorded }) => ({ partition, next: Number(next), recorded: Number(recorded) }))
    },
    async events(partition, from, before, limit) {
      const { rows } = await pool.query<EventRow>({ name: 'derived-events', text: EVENTS, values: [partition, from, before, limit] })
      return rows.map(({ seq, created_at: createdAt, log_offset: offset, appended_at: appendedAt, ...event }): AuditEvent => ({
        event: { ...event, created_at: Number(createdAt), decision_chain: '', decision_seq: 0, decision_input: '' },
        seq: Number(seq),
        offset: Number(offset),
        appendedAt: Number(appendedAt),
      }))
    },
    transaction: ({ partition, from, next }, work) =>
      inTransaction(pool, async (client) => {
        const { rowCount } = await client.query({ name: 'derived-move', text: MOVE, values: [reader, partition, from, next] })
        if (rowCount === 0) return 'overtaken'
        await work({
          states: (wanted) => states(client, wanted),
          readWork: (needs) => readWork(client, generation, needs),
          async write({ executions, snapshots, work: rows }) {
            await putExecutions(client, generation, executions)
            await putSnapshots(client, generation, snapshots)
            await putWork(client, generation, rows)
          },
        })
        return 'stored'
      }),
  }
}
