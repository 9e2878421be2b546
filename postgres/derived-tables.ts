// accepted events → recorder | follower → [derived tables: executions, snapshots] of one generation
//
// A generation is a schema (refold_derived_g<n>), so that no table name changes; people read the views of schema refold, which
// show the live one.

import type { ClientBase } from 'pg'
import type { Folded, SnapshotRow } from '../consumers/recorder.ts'
import { SNAPSHOT_EVERY, SNAPSHOTS_KEPT } from '../workflow/snapshot.ts'
import { timestamp } from './copy.ts'

/** The projection that the derived tables are generations of. */
export const DERIVED = 'derived'

export const derivedSchema = (generation: number) => `refold_derived_g${generation}`
/** The reader of a generation that is not live; of the live one it is the recorder. */
export const derivedReader = (generation: number) => `${DERIVED}@g${generation}`

/** What of a folded execution its row holds. */
export type DerivedExecution = Pick<Folded, 'tenant' | 'executionId' | 'partition' | 'offset' | 'state'>

const statements = new Map<string, { name: string; text: string }>()

/** A prepared statement on a generation's tables, which `text` names as DERIVED.<table>. */
export function statement(generation: number, name: string, text: string): { name: string; text: string } {
  const full = `${name}-g${generation}`
  const known = statements.get(full) ?? { name: full, text: text.replaceAll('DERIVED.', `${derivedSchema(generation)}.`) }
  statements.set(full, known)
  return known
}

const PUT_EXECUTIONS = `
  INSERT INTO DERIVED.workflow_executions AS e (tenant, execution_id, partition, status, current_state, data, last_seq,
    last_offset, workflow_name, workflow_version, business_key, correlation_id, result, error, opened_at, changed_at, created_until)
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::json[], $7::bigint[], $8::bigint[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::json[], $14::json[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[])
  ON CONFLICT (tenant, execution_id) DO UPDATE SET status = excluded.status, current_state = excluded.current_state,
    data = excluded.data, last_seq = excluded.last_seq, last_offset = excluded.last_offset, workflow_name = excluded.workflow_name,
    workflow_version = excluded.workflow_version, business_key = excluded.business_key, correlation_id = excluded.correlation_id,
    result = excluded.result, error = excluded.error, changed_at = excluded.changed_at, created_until = excluded.created_until`

const PUT_SNAPSHOTS = `
  INSERT INTO DERIVED.workflow_snapshots (tenant, execution_id, seq, partition, fold_version, state, digest, recorded_until, created_until)
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::int[], $5::int[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[])
  ON CONFLICT (tenant, execution_id, seq) DO UPDATE SET partition = excluded.partition, fold_version = excluded.fold_version,
    state = excluded.state, digest = excluded.digest, recorded_until = excluded.recorded_until, created_until = excluded.created_until`

const DROP_SNAPSHOTS = `
  DELETE FROM DERIVED.workflow_snapshots s USING unnest($1::text[], $2::uuid[], $3::bigint[]) AS old (tenant, execution_id, seq)
  WHERE s.tenant = old.tenant AND s.execution_id = old.execution_id AND s.seq <= old.seq`

const jsonText = (value: unknown) => (value === null || value === undefined ? null : JSON.stringify(value))

export const identityColumns = (folded: readonly Pick<Folded, 'tenant' | 'executionId' | 'partition'>[]) => [
  folded.map((one) => one.tenant),
  folded.map((one) => one.executionId),
  folded.map((one) => one.partition),
]

export async function putExecutions(client: ClientBase, generation: number, folded: readonly DerivedExecution[]): Promise<void> {
  if (folded.length === 0) return
  const column = <T>(pick: (one: DerivedExecution) => T) => folded.map(pick)
  await client.query({
    ...statement(generation, 'recorder-put-executions', PUT_EXECUTIONS),
    values: [
      ...identityColumns(folded),
      column(({ state }) => state.status),
      column(({ state }) => state.currentState),
      column(({ state }) => JSON.stringify(state.data)),
      column(({ state }) => state.seq),
      column((one) => one.offset),
      column(({ state }) => state.workflow),
      column(({ state }) => state.version),
      column(({ state }) => state.key),
      column(({ state }) => state.correlationId),
      column(({ state }) => jsonText(state.result)),
      column(({ state }) => jsonText(state.error)),
      column(({ state }) => timestamp(state.openedAt)),
      column(({ state }) => timestamp(state.changedAt)),
      column(({ state }) => timestamp(state.createdUntil)),
    ],
  })
}

export async function putSnapshots(client: ClientBase, generation: number, rows: readonly SnapshotRow[]): Promise<void> {
  if (rows.length === 0) return
  const column = <T>(pick: (row: SnapshotRow) => T) => rows.map(pick)
  await client.query({
    ...statement(generation, 'recorder-put-snapshots', PUT_SNAPSHOTS),
    values: [
      column(({ snapshot }) => snapshot.tenant),
      column(({ snapshot }) => snapshot.executionId),
      column(({ snapshot }) => snapshot.seq),
      column(({ partition }) => partition),
      column(({ snapshot }) => snapshot.foldVersion),
      column(({ snapshot }) => snapshot.state),
      column(({ snapshot }) => snapshot.digest),
      column(({ recordedUntil }) => timestamp(recordedUntil)),
      column(({ createdUntil }) => timestamp(createdUntil)),
    ],
  })
  await client.query({
    ...statement(generation, 'recorder-drop-snapshots', DROP_SNAPSHOTS),
    values: [
      column(({ snapshot }) => snapshot.tenant),
      column(({ snapshot }) => snapshot.executionId),
      column(({ snapshot }) => snapshot.seq - SNAPSHOT_EVERY * SNAPSHOTS_KEPT),
    ],
  })
}
