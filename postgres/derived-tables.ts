// accepted events → recorder | follower → [derived tables: executions, snapshots] of one generation
//
// A generation is a schema (refold_derived_g<n>), so that no table name changes; people read the views of schema refold, which
// show the live one.

import type { ClientBase } from 'pg'
import type { Folded, SnapshotRow } from '../consumers/recorder-fold.ts'
import { SNAPSHOT_EVERY, SNAPSHOTS_KEPT } from '../workflow/snapshot.ts'
import { timestamp } from './copy.ts'
import { columnsOf, type Upsert, upsertText, type Value } from './upsert.ts'

/** The projection that the derived tables are generations of. */
export const DERIVED = 'derived'

export const derivedSchema = (generation: number) => `refold_derived_g${generation}`
/** The reader of a generation that is not live; of the live one it is the recorder. */
export const derivedReader = (generation: number) => `${DERIVED}@g${generation}`

/** What of a folded execution its row holds. */
export type DerivedExecution = Pick<Folded, 'tenant' | 'executionId' | 'partition' | 'offset' | 'state'>

const statements = new Map<string, { name: string; text: string }>()
/** Of names of prepared statements Postgres keeps so many bytes: two that begin alike would be one to it. */
const NAME_BYTES = 63

/** A prepared statement on a generation's tables, which `text` names as DERIVED.<table>; a name has one text. */
export function statement(generation: number, name: string, text: string | (() => string)): { name: string; text: string } {
  const full = `${name}-g${generation}`
  let known = statements.get(full)
  if (!known) {
    if (full.length > NAME_BYTES) throw new TypeError(`the name of a prepared statement is too long: ${full}`)
    const made = typeof text === 'string' ? text : text()
    known = { name: full, text: made.replaceAll('DERIVED.', `${derivedSchema(generation)}.`) }
    statements.set(full, known)
  }
  return known
}

export const EXECUTIONS: Upsert = {
  table: 'DERIVED.workflow_executions',
  columns: {
    tenant: 'text',
    execution_id: 'uuid',
    partition: 'int',
    status: 'text',
    current_state: 'text',
    data: 'json',
    last_seq: 'bigint',
    last_offset: 'bigint',
    workflow_name: 'text',
    workflow_version: 'text',
    business_key: 'text',
    correlation_id: 'text',
    result: 'json',
    error: 'json',
    opened_at: 'timestamptz',
    changed_at: 'timestamptz',
    created_until: 'timestamptz',
  },
  key: ['tenant', 'execution_id'],
  keeps: ['partition', 'opened_at'],
}

export const SNAPSHOTS: Upsert = {
  table: 'DERIVED.workflow_snapshots',
  columns: {
    tenant: 'text',
    execution_id: 'uuid',
    seq: 'bigint',
    partition: 'int',
    fold_version: 'int',
    state: 'text',
    digest: 'text',
    recorded_until: 'timestamptz',
    created_until: 'timestamptz',
  },
  key: ['tenant', 'execution_id', 'seq'],
}

/** Older than are kept; rows given as tenant, execution, newest seq to drop. `first`: number of its first parameter. */
export const dropSnapshots = (first = 1, where = '') => `
  DELETE FROM DERIVED.workflow_snapshots s
  USING unnest($${first}::text[], $${first + 1}::uuid[], $${first + 2}::bigint[]) AS old (tenant, execution_id, seq)
  WHERE s.tenant = old.tenant AND s.execution_id = old.execution_id AND s.seq <= old.seq${where}`

const jsonText = (value: unknown) => (value === null || value === undefined ? null : JSON.stringify(value))

export const executionValues = ({ tenant, executionId, partition, offset, state }: DerivedExecution): Value[] => [
  tenant,
  executionId,
  partition,
  state.status,
  state.currentState,
  JSON.stringify(state.data),
  state.seq,
  offset,
  state.workflow,
  state.version,
  state.key,
  state.correlationId,
  jsonText(state.result),
  jsonText(state.error),
  timestamp(state.openedAt),
  timestamp(state.changedAt),
  timestamp(state.createdUntil),
]

export const snapshotValues = ({ snapshot, partition, recordedUntil, createdUntil }: SnapshotRow): Value[] => [
  snapshot.tenant,
  snapshot.executionId,
  snapshot.seq,
  partition,
  snapshot.foldVersion,
  snapshot.state,
  snapshot.digest,
  timestamp(recordedUntil),
  timestamp(createdUntil),
]

/** Snapshots of which more were taken before than are kept. */
export const dropping = (rows: readonly SnapshotRow[]) => rows.filter(({ snapshot }) => snapshot.seq > SNAPSHOT_EVERY * SNAPSHOTS_KEPT)

/** Parameters of `dropSnapshots` after these were taken. */
export const droppedBy = (rows: readonly SnapshotRow[]): Value[][] => [
  rows.map(({ snapshot }) => snapshot.tenant),
  rows.map(({ snapshot }) => snapshot.executionId),
  rows.map(({ snapshot }) => snapshot.seq - SNAPSHOT_EVERY * SNAPSHOTS_KEPT),
]

/** Writes rows of a generation's table; nothing is asked where there are none. */
export async function put(
  client: ClientBase,
  generation: number,
  name: string,
  spec: Upsert,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  if (rows.length > 0)
    await client.query({ ...statement(generation, `recorder-put-${name}`, () => upsertText(spec)), values: columnsOf(spec, rows) })
}

export const putExecutions = (client: ClientBase, generation: number, folded: readonly DerivedExecution[]): Promise<void> =>
  put(client, generation, 'executions', EXECUTIONS, folded.map(executionValues))

export async function putSnapshots(client: ClientBase, generation: number, rows: readonly SnapshotRow[]): Promise<void> {
  if (rows.length === 0) return
  await put(client, generation, 'snapshots', SNAPSHOTS, rows.map(snapshotValues))
  const old = dropping(rows)
  if (old.length > 0) await client.query({ ...statement(generation, 'recorder-drop-snapshots', dropSnapshots), values: droppedBy(old) })
}
