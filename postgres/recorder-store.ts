// produce → log → accept → recorder → [Postgres] → REST
//
// The recorder's transactions (its port: RecorderStore in consumers/recorder.ts). The checkpoint's compare-and-set is the
// first statement, so that of two recorders on one partition the second waits for the row and then finds itself overtaken.

import type { Pool, PoolClient } from 'pg'
import type { Assumed, CheckpointMove, RecorderAtOnce, RecorderStore, RecorderTransaction } from '../consumers/recorder.ts'
import type { BatchResult, Known, Need } from '../consumers/recorder-fold.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import { recordDigest } from './record-digest.ts'
import type { Head } from '../workflow/accept.ts'
import { executionKey } from '../workflow/execution.ts'
import { parseJson } from '../workflow/json.ts'
import { copyInto } from './copy.ts'
import { DERIVED_STATE, type DerivedStateRow, stateOfRow } from './derived-state.ts'
import {
  DERIVED,
  droppedBy,
  dropping,
  dropSnapshots,
  EXECUTIONS,
  executionValues,
  put,
  putExecutions,
  putSnapshots,
  SNAPSHOTS,
  snapshotValues,
  statement,
} from './derived-tables.ts'
import { foldHistory } from './history.ts'
import { inTransaction } from './pool.ts'
import { AUDIT, auditValues, HEADS, headValues, tenantOf, VERDICTS, verdictValues } from './record-rows.ts'
import { putIncidents } from './recorder-incidents.ts'
import { putWork, readWork, workParts } from './recorder-work.ts'
import { columnsOf, upsertText } from './upsert.ts'

export const READER = 'recorder'

/** Channel on which moved checkpoints are told, as `<partition>:<next>` with spaces between, when their transaction commits. */
export const RECORDED_CHANNEL = 'refold_recorded'

/**
 * Rows are locked in the order of partitions: two recorders that share some never wait for each other in a ring. R9's lock is taken before
 * them, unless one who is to wait for it has it: the recorder waits for nobody.
 */
const movedIf = (condition: string) => `
  held AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($7::bigint)),
  wanted AS (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[]) AS w (partition, was, next, last, digest)),
  locked AS (
    SELECT partition FROM held, refold.checkpoints c WHERE reader = '${READER}' AND partition = ANY ($1) ORDER BY partition FOR UPDATE OF c),
  moved AS (
    UPDATE refold.checkpoints c
    SET next_offset = w.next, last_offset = coalesce(w.last, c.last_offset), last_digest = coalesce(w.digest, c.last_digest), moved_at = now()
    FROM wanted w JOIN locked USING (partition)
    WHERE c.reader = '${READER}' AND c.partition = w.partition AND c.next_offset = w.was
      AND ($6::int IS NULL OR c.derived_generation = $6)${condition}
    RETURNING c.partition, c.next_offset, c.derived_generation)`
const MOVED = movedIf('')
// R8 of consumers/recorder.ts: whoever adds an execution moves its partition's checkpoint, so that a snapshot is enough.
const MOVED_IF_NEW = movedIf(`
      AND NOT EXISTS (
        SELECT FROM unnest($8::int[], $9::text[], $10::uuid[]) AS n (partition, tenant, execution_id)
        JOIN refold.execution_heads h USING (tenant, execution_id) WHERE n.partition = c.partition)`)
// A payload has at most 8,000 bytes.
const TELL = `,
  told AS (
    SELECT pg_notify('${RECORDED_CHANNEL}', string_agg(partition || ':' || next_offset, ' ')) AS done FROM moved GROUP BY partition / 200)
  SELECT partition, derived_generation AS generation FROM moved WHERE (SELECT count(done) FROM told) > 0`
// Not a join: the planner takes a loop over partitions, and reads all rows again for each.
const OF_MOVED = 'WHERE v.partition = ANY (ARRAY(SELECT partition FROM moved))'

const KNOWN = `
  SELECT h.tenant, h.execution_id, h.seq, h.phase, h.decision, h.next_chain, h.open_timers::text AS open_timers, encode(h.last_input, 'hex') AS last_input,
         ${DERIVED_STATE}
  FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, execution_id)
  JOIN refold.execution_heads h USING (tenant, execution_id)
  LEFT JOIN DERIVED.workflow_executions e USING (tenant, execution_id)`

const CONTENTS = `
  SELECT e.tenant, e.execution_id, e.event_id, encode(e.content, 'hex') AS content
  FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS wanted (tenant, execution_id, event_id)
  JOIN refold.workflow_events e USING (tenant, execution_id, event_id)`

type HeadRow = DerivedStateRow & {
  seq: string
  phase: Head['phase']
  decision: number
  next_chain: string
  open_timers: string
  last_input: string
  last_seq: string | null
}

function headOf(row: HeadRow): Head {
  const timers = parseJson(row.open_timers) as Record<string, number>
  return {
    seq: Number(row.seq),
    phase: row.phase,
    input: row.last_input,
    decision: row.decision,
    nextChain: row.next_chain,
    openTimers: new Map(Object.entries(timers).map(([timer, due]) => [Number(timer), due])),
  }
}

async function readKnown(client: Pool | PoolClient, generation: number, needs: readonly Need[]): Promise<Map<string, Known>> {
  const { rows } = await client.query<HeadRow>({
    ...statement(generation, 'recorder-heads', KNOWN),
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
  client: Pool | PoolClient,
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

async function write(
  client: PoolClient,
  generation: number,
  { audit, verdicts, executions, snapshots, work }: BatchResult,
  faults: Faults,
): Promise<void> {
  await copyInto(client, AUDIT.table, Object.keys(AUDIT.columns), audit.map(auditValues))
  await faults.at('recorder:audit:written')
  await copyInto(client, VERDICTS.table, Object.keys(VERDICTS.columns), verdicts.map(verdictValues))
  await putIncidents(client, verdicts, tenantOf)
  await faults.at('recorder:verdicts:written')
  await put(client, generation, 'heads', HEADS, executions.map(headValues))
  await faults.at('recorder:heads:written')
  await putExecutions(client, generation, executions)
  await faults.at('recorder:executions:written')
  await putSnapshots(client, generation, snapshots)
  await faults.at('recorder:snapshots:written')
  await putWork(client, generation, work)
  await faults.at('recorder:work:written')
}

type Moved = { partition: number; generation: number | null }

/** `generation`: partitions move only while it is live. `lock`: taken first. */
const moveValues = (moves: readonly CheckpointMove[], generation: number | null, lock: number | null) => [
  moves.map(({ partition }) => partition),
  moves.map(({ from }) => from),
  moves.map(({ next }) => next),
  moves.map(({ last }) => last?.offset ?? null),
  moves.map(({ last }) => (last ? recordDigest(last) : null)),
  generation,
  lock,
]

/** Which partitions moved, and the generation of derived tables that is live. */
async function move(client: PoolClient, moves: readonly CheckpointMove[]): Promise<{ moved: ReadonlySet<number>; generation: number }> {
  const { rows } = await client.query<Moved>({
    name: 'recorder-move',
    text: `WITH ${MOVED}${TELL}`,
    values: moveValues(moves, null, null),
  })
  return { moved: new Set(rows.map(({ partition }) => partition)), generation: rows[0]?.generation ?? 1 }
}

/** Checkpoints and rows in one statement, which is a transaction: of partitions that do not move, no row is written. */
async function writeAtOnce(
  pool: Pool,
  moves: readonly CheckpointMove[],
  generation: number,
  { audit, verdicts, executions, snapshots, work }: BatchResult,
  assumed: readonly Assumed[],
  lock: number | undefined,
): Promise<ReadonlySet<number>> {
  const parts = [
    { name: 'audit', spec: AUDIT, rows: audit.map(auditValues) },
    { name: 'verdicts', spec: VERDICTS, rows: verdicts.map(verdictValues) },
    { name: 'heads', spec: HEADS, rows: executions.map(headValues) },
    { name: 'executions', spec: EXECUTIONS, rows: executions.map(executionValues) },
    { name: 'snapshots', spec: SNAPSHOTS, rows: snapshots.map(snapshotValues) },
    ...workParts(work),
  ].filter(({ rows }) => rows.length > 0)
  const ifNew = assumed.length > 0
  const values: unknown[] = moveValues(moves, generation, lock ?? null)
  if (ifNew)
    values.push(
      assumed.map(({ partition }) => partition),
      assumed.map(({ tenant }) => tenant),
      assumed.map(({ executionId }) => executionId),
    )
  const first = values.length + 1
  for (const { spec, rows } of parts) values.push(...columnsOf(spec, rows))
  const old = dropping(snapshots)
  const firstOld = values.length + 1
  if (old.length > 0) values.push(...droppedBy(old))
  const named = `recorder-at-once-${ifNew ? 'if-new-' : ''}${parts.map(({ name }) => name.slice(0, 2)).join('')}${old.length > 0 ? '-drop' : ''}`
  const shape = statement(generation, named, () => {
    let next = first
    const ctes = parts.map(({ name, spec }) => {
      const text = upsertText(spec, next, OF_MOVED)
      next += Object.keys(spec.columns).length
      return `${name} AS (${text})`
    })
    if (old.length > 0) ctes.push(`dropped AS (${dropSnapshots(firstOld, ' AND s.partition = ANY (ARRAY(SELECT partition FROM moved))')})`)
    return `WITH ${[ifNew ? MOVED_IF_NEW : MOVED, ...ctes].join(',\n')}${TELL}`
  })
  const { rows } = await pool.query<Moved>({ ...shape, values })
  return new Set(rows.map(({ partition }) => partition))
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
    // Faults are between the statements of a transaction: with them there is no other way.
    ...(faults === NO_FAULTS ? { atOnce: atOnceOn(pool) } : {}),
  }
}

const atOnceOn = (pool: Pool): RecorderAtOnce => ({
  reads: (generation) => ({
    generation,
    read: (needs) => readKnown(pool, generation, needs),
    readWork: (needs) => readWork(pool, generation, needs),
  }),
  write: (moves, generation, result, assumed, lock) => writeAtOnce(pool, moves, generation, result, assumed, lock),
})
