// produce → log → accept → recorder → [Postgres] → REST
//
// The recorder's transactions (its port: RecorderStore in consumers/recorder.ts). The checkpoint's compare-and-set is the
// first statement, so that of two recorders on one partition the second waits for the row and then finds itself overtaken.

import type { Pool, PoolClient } from 'pg'
import type {
  AuditRow,
  BatchResult,
  CheckpointMove,
  Folded,
  Known,
  Need,
  RecorderStore,
  RecorderTransaction,
  VerdictRow,
} from '../consumers/recorder.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import { recordDigest } from './record-digest.ts'
import type { Head } from '../workflow/accept.ts'
import { executionKey } from '../workflow/execution.ts'
import { parseJson } from '../workflow/json.ts'
import { LIMITS } from '../workflow/limits.ts'
import { bytea, copyInto, type CopyValue, timestamp } from './copy.ts'
import { DERIVED_STATE, type DerivedStateRow, stateOfRow } from './derived-state.ts'
import { DERIVED, identityColumns, putExecutions, putSnapshots, statement } from './derived-tables.ts'
import { foldHistory } from './history.ts'
import { inTransaction } from './pool.ts'
import { putIncidents } from './recorder-incidents.ts'
import { putWork, readWork } from './recorder-work.ts'

export const READER = 'recorder'

/** Channel on which each moved checkpoint is told, as `<partition>:<next>`, when its transaction commits. */
export const RECORDED_CHANNEL = 'refold_recorded'

/** Rows are locked in the order of partitions: two recorders that share some never wait for each other in a ring. */
const MOVE = `
  WITH wanted AS (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[]) AS w (partition, was, next, last, digest)),
  locked AS (
    SELECT partition FROM refold.checkpoints WHERE reader = '${READER}' AND partition = ANY ($1) ORDER BY partition FOR UPDATE),
  moved AS (
    UPDATE refold.checkpoints c
    SET next_offset = w.next, last_offset = coalesce(w.last, c.last_offset), last_digest = coalesce(w.digest, c.last_digest), moved_at = now()
    FROM wanted w JOIN locked USING (partition)
    WHERE c.reader = '${READER}' AND c.partition = w.partition AND c.next_offset = w.was
    RETURNING c.partition, c.next_offset, c.derived_generation)
  SELECT partition, derived_generation AS generation, pg_notify('${RECORDED_CHANNEL}', partition || ':' || next_offset) FROM moved`

const HEADS = `
  SELECT h.tenant, h.execution_id, h.seq, h.phase, h.decision, h.next_chain, h.open_timers::text AS open_timers,
         ${DERIVED_STATE}
  FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, execution_id)
  JOIN refold.execution_heads h USING (tenant, execution_id)
  LEFT JOIN DERIVED.workflow_executions e USING (tenant, execution_id)`

const CONTENTS = `
  SELECT e.tenant, e.execution_id, e.event_id, encode(e.content, 'hex') AS content
  FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS wanted (tenant, execution_id, event_id)
  JOIN refold.workflow_events e USING (tenant, execution_id, event_id)`

const PUT_HEADS = `
  INSERT INTO refold.execution_heads AS h (tenant, execution_id, partition, seq, phase, decision, next_chain, open_timers)
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::bigint[], $5::text[], $6::int[], $7::text[], $8::json[])
  ON CONFLICT (tenant, execution_id) DO UPDATE SET seq = excluded.seq, phase = excluded.phase, decision = excluded.decision,
    next_chain = excluded.next_chain, open_timers = excluded.open_timers`

type HeadRow = DerivedStateRow & {
  seq: string
  phase: Head['phase']
  decision: number
  next_chain: string
  open_timers: string
  last_seq: string | null
}

function headOf(row: HeadRow): Head {
  const timers = parseJson(row.open_timers) as Record<string, number>
  return {
    seq: Number(row.seq),
    phase: row.phase,
    decision: row.decision,
    nextChain: row.next_chain,
    openTimers: new Map(Object.entries(timers).map(([timer, due]) => [Number(timer), due])),
  }
}

async function readKnown(client: PoolClient, generation: number, needs: readonly Need[]): Promise<Map<string, Known>> {
  const { rows } = await client.query<HeadRow>({
    ...statement(generation, 'recorder-heads', HEADS),
    values: [needs.map((need) => need.tenant), needs.map((need) => need.executionId)],
  })
  const contents = new Map<string, Map<string, string>>()
  for (const row of rows) contents.set(executionKey(row.tenant, row.execution_id), new Map())
  const asked = needs.flatMap((need) =>
    contents.has(executionKey(need.tenant, need.executionId)) ? need.eventIds.map((eventId) => ({ ...need, eventId })) : [],
  )
  if (asked.length > 0) await readContents(client, asked, contents)
  const known = new Map<string, Known>()
  for (const row of rows) {
    const key = executionKey(row.tenant, row.execution_id)
    const head = headOf(row)
    // A derived row may be missing or behind (tables restored, a generation not yet filled); the audit never is.
    const mine = { head, contents: contents.get(key) ?? new Map<string, string>() }
    if (row.last_seq === row.seq)
      known.set(key, { ...mine, state: stateOfRow(row, Number(row.seq), row.phase === 'driven' ? 'driven' : 'folded') })
    else known.set(key, { ...mine, state: await foldHistory(client, row.tenant, row.execution_id), doubted: true })
  }
  return known
}

async function readContents(
  client: PoolClient,
  asked: readonly { tenant: string; executionId: string; eventId: string }[],
  contents: ReadonlyMap<string, Map<string, string>>,
): Promise<void> {
  const { rows } = await client.query<{ tenant: string; execution_id: string; event_id: string; content: string }>({
    name: 'recorder-contents',
    text: CONTENTS,
    values: [asked.map((ask) => ask.tenant), asked.map((ask) => ask.executionId), asked.map((ask) => ask.eventId)],
  })
  for (const row of rows) contents.get(executionKey(row.tenant, row.execution_id))?.set(row.event_id, row.content)
}

const AUDIT_COLUMNS = (
  'tenant execution_id seq event_id event_name event_type from_state to_state user_id payload created_at causation_id ' +
  'correlation_id workflow_name business_key decision content partition log_offset appended_at'
).split(' ')

function auditRow({ event, seq, from, to, content, partition, offset, appendedAt }: AuditRow): CopyValue[] {
  return [
    event.tenant,
    event.execution_id,
    seq,
    event.event_id,
    event.event_name,
    event.event_type,
    from,
    to,
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

const VERDICT_COLUMNS =
  'partition log_offset verdict reason detail tenant execution_id event_id event_name record_key record_value appended_at'.split(' ')

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
function tenantOf(event: { tenant: string } | undefined): string | null {
  return event && event.tenant !== '' && storable(event.tenant, LIMITS.tenant) === event.tenant ? event.tenant : null
}

function verdictRow({ verdict, record, event }: VerdictRow): CopyValue[] {
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

async function putHeads(client: PoolClient, folded: readonly Folded[]): Promise<void> {
  if (folded.length === 0) return
  const column = <T>(pick: (one: Folded) => T) => folded.map(pick)
  await client.query({
    name: 'recorder-put-heads',
    text: PUT_HEADS,
    values: [
      ...identityColumns(folded),
      column(({ head }) => head.seq),
      column(({ head }) => head.phase),
      column(({ head }) => head.decision),
      column(({ head }) => head.nextChain),
      column(({ head }) => JSON.stringify(Object.fromEntries(head.openTimers))),
    ],
  })
}

async function write(
  client: PoolClient,
  generation: number,
  { audit, verdicts, executions, snapshots, work }: BatchResult,
  faults: Faults,
): Promise<void> {
  await copyInto(client, 'refold.workflow_events', AUDIT_COLUMNS, audit.map(auditRow))
  await faults.at('recorder:audit:written')
  await copyInto(client, 'refold.event_verdicts', VERDICT_COLUMNS, verdicts.map(verdictRow))
  await putIncidents(client, verdicts, tenantOf)
  await faults.at('recorder:verdicts:written')
  await putHeads(client, executions)
  await faults.at('recorder:heads:written')
  await putExecutions(client, generation, executions)
  await faults.at('recorder:executions:written')
  await putSnapshots(client, generation, snapshots)
  await faults.at('recorder:snapshots:written')
  await putWork(client, generation, work)
  await faults.at('recorder:work:written')
}

/** Which partitions moved, and the generation of derived tables that is live. */
async function move(client: PoolClient, moves: readonly CheckpointMove[]): Promise<{ moved: ReadonlySet<number>; generation: number }> {
  const { rows } = await client.query<{ partition: number; generation: number | null }>({
    name: 'recorder-move',
    text: MOVE,
    values: [
      moves.map(({ partition }) => partition),
      moves.map(({ from }) => from),
      moves.map(({ next }) => next),
      moves.map(({ last }) => last?.offset ?? null),
      moves.map(({ last }) => (last ? recordDigest(last) : null)),
    ],
  })
  return { moved: new Set(rows.map(({ partition }) => partition)), generation: rows[0]?.generation ?? 1 }
}

/** `pool` connects as refold_engine. */
export function createRecorderStore(pool: Pool, faults: Faults = NO_FAULTS): RecorderStore {
  return {
    async checkpoint(partition) {
      const { rows } = await pool.query<{ next_offset: string }>(
        `INSERT INTO refold.checkpoints AS c (reader, partition, next_offset, derived_generation)
         VALUES ('${READER}', $1, 0, (SELECT live_generation FROM refold.projections WHERE name = '${DERIVED}'))
         ON CONFLICT (reader, partition) DO UPDATE SET next_offset = c.next_offset RETURNING next_offset`,
        [partition],
      )
      return Number(rows[0]?.next_offset ?? 0)
    },
    async witness(partition) {
      const { rows } = await pool.query<{ last_offset: string | null; last_digest: Buffer | null }>(
        'SELECT last_offset, last_digest FROM refold.checkpoints WHERE reader = $1 AND partition = $2',
        [READER, partition],
      )
      const { last_offset: offset = null, last_digest: digest = null } = rows[0] ?? {}
      if (offset === null || digest === null) return undefined
      return { offset: Number(offset), isSame: (record) => recordDigest(record).equals(digest) }
    },
    transaction: (moves, work) =>
      inTransaction(pool, async (client) => {
        const { moved, generation } = await move(client, moves)
        if (moved.size === 0) return moved
        await faults.at('recorder:checkpoint:moved')
        const transaction: RecorderTransaction = {
          generation,
          read: (needs) => readKnown(client, generation, needs),
          readWork: (needs) => readWork(client, generation, needs),
          write: (result) => write(client, generation, result, faults),
        }
        await work(transaction, moved)
        return moved
      }),
  }
}
