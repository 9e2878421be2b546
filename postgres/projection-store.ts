// accepted events → projector → [Postgres]: rows of one generation (the port ProjectionStore of consumers/projector.ts)

import type { Pool, PoolClient } from 'pg'
import type { Change, ProjectionStore, ProjectionWork } from '../consumers/projector.ts'
import type { PlainRow, Projection, TableDefinition } from '../projections/define.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { inTransaction } from './pool.ts'
import { column, quoted, readerOf, readRow, schemaOf, selected } from './projection-tables.ts'
import { READER } from './recorder-store.ts'

const MOVE = `
  UPDATE refold.checkpoints SET next_offset = $4, moved_at = now()
  WHERE reader = $1 AND partition = $2 AND next_offset = $3 AND (stop_at IS NULL OR stop_until < now() OR $4 <= stop_at)`

// One statement, so one snapshot: verdicts are stored with the checkpoint that passes them.
const WINDOW = `
  SELECT r.next_offset AS recorded,
    (SELECT stop_at FROM refold.checkpoints WHERE reader = $1 AND partition = $2 AND stop_until > now()) AS stop_at,
    ARRAY(SELECT log_offset FROM refold.event_verdicts
          WHERE partition = $2 AND log_offset >= $3 AND log_offset < least($4, r.next_offset)) AS refused
  FROM refold.checkpoints r WHERE r.reader = '${READER}' AND r.partition = $2`

const EVENTS = `
  SELECT event_id, tenant, execution_id, seq, event_name, event_type, from_state, to_state, user_id, payload,
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at, causation_id, correlation_id, workflow_name, business_key, decision,
         log_offset, (extract(epoch FROM appended_at) * 1000)::bigint AS appended_at
  FROM refold.workflow_events WHERE partition = $1 AND log_offset >= $2 AND log_offset < $3 ORDER BY log_offset LIMIT $4`

type EventRow = Omit<WorkflowEvent, 'created_at' | 'decision_chain'> & {
  seq: string
  created_at: string
  log_offset: string
  appended_at: string
}

/** Statements of a fold's table, made once. */
function statements(schema: string, table: TableDefinition) {
  const { name, columns, key } = table
  const into = `${quoted(schema)}.${quoted(name)}`
  const all = Object.entries(columns)
  const keyTypes = key.map((one) => columns[one] ?? 'text')
  const wanted = `unnest($2::text[], ${key.map((_, i) => `$${i + 3}::${keyTypes[i]}[]`).join(', ')}) AS w (tenant, ${key.map(quoted).join(', ')})`
  const others = all.filter(([one]) => !key.includes(one)).map(([one]) => quoted(one))
  const set = [...others, 'last_offset'].map((one) => `${one} = excluded.${one}`).join(', ')
  return {
    read: `SELECT t.tenant, ${all.map(([one, type]) => selected(one, type, 't.')).join(', ')}
           FROM ${wanted} JOIN ${into} t USING (tenant, ${key.map(quoted).join(', ')}) WHERE t.partition = $1`,
    put: `INSERT INTO ${into} (partition, tenant, ${all.map(([one]) => quoted(one)).join(', ')}, last_offset)
          SELECT $1, * FROM unnest($2::text[], ${all.map(([, type], i) => `$${i + 3}::${type}[]`).join(', ')}, $${all.length + 3}::bigint[])
          ON CONFLICT (tenant, ${key.map(quoted).join(', ')}, partition) DO UPDATE SET ${set}`,
    remove: `DELETE FROM ${into} t USING ${wanted}
             WHERE t.partition = $1 AND t.tenant = w.tenant AND ${key.map((one) => `t.${quoted(one)} = w.${quoted(one)}`).join(' AND ')}`,
  }
}

/** `pool` connects as refold_engine. */
export function createProjectionStore(pool: Pool, projection: Projection, generation: number): ProjectionStore {
  const reader = readerOf(projection.name, generation)
  const schema = schemaOf(projection.name, generation)
  const [table] = projection.tables
  const made = table ? statements(schema, table) : undefined

  const keyValues = (rows: readonly { tenant: string; key: PlainRow }[]): unknown[] => [
    rows.map(({ tenant }) => tenant),
    ...(table?.key ?? []).map((name) =>
      column(
        rows.map(({ key }) => key),
        name,
        table?.columns[name] ?? 'text',
      ),
    ),
  ]

  async function write(client: PoolClient, partition: number, changes: readonly Change[]): Promise<void> {
    if (!table || !made) return
    const kept = changes.flatMap(({ tenant, row, offset }) => (row === null ? [] : [{ tenant, row, offset }]))
    const gone = changes.filter(({ row }) => row === null)
    if (kept.length > 0) {
      const rows = kept.map(({ row }) => row)
      const values = Object.entries(table.columns).map(([name, type]) => column(rows, name, type))
      await client.query(made.put, [partition, kept.map(({ tenant }) => tenant), ...values, kept.map(({ offset }) => offset)])
    }
    if (gone.length > 0) await client.query(made.remove, [partition, ...keyValues(gone)])
  }

  const workOf = (client: PoolClient, partition: number): ProjectionWork => ({
    async read(keys) {
      if (!table || !made) return []
      const { rows } = await client.query<PlainRow>(made.read, [partition, ...keyValues(keys)])
      return rows.map((row) => ({ tenant: String(row['tenant']), row: readRow(row, table) }))
    },
    write: (changes) => write(client, partition, changes),
    sql: {
      async query(text, values = []) {
        const { rows } = await client.query(text, [...values])
        return rows as readonly Record<string, unknown>[]
      },
    },
  })

  async function offsetOf(name: string, partition: number): Promise<number> {
    const { rows } = await pool.query<{ next_offset: string }>({
      name: 'projection-offset',
      text: 'SELECT next_offset FROM refold.checkpoints WHERE reader = $1 AND partition = $2',
      values: [name, partition],
    })
    return Number(rows[0]?.next_offset ?? 0)
  }

  return {
    async checkpoint(partition) {
      await pool.query(
        'INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ($1, $2, 0) ON CONFLICT (reader, partition) DO NOTHING',
        [reader, partition],
      )
      return offsetOf(reader, partition)
    },
    recorded: (partition) => offsetOf(READER, partition),
    async window(partition, from, next) {
      const { rows } = await pool.query<{ recorded: string; stop_at: string | null; refused: string[] }>({
        name: 'projection-window',
        text: WINDOW,
        values: [reader, partition, from, next],
      })
      const { recorded = 0, stop_at: stopAt = null, refused = [] } = rows[0] ?? {}
      return { recorded: Number(recorded), stopAt: stopAt === null ? undefined : Number(stopAt), refused: new Set(refused.map(Number)) }
    },
    async audit(partition, from, next) {
      const { rows } = await pool.query<{ log_offset: string; seq: string; from_state: string; to_state: string }>({
        name: 'projection-audit',
        text: `SELECT log_offset, seq, from_state, to_state FROM refold.workflow_events WHERE partition = $1 AND log_offset >= $2 AND log_offset < $3`,
        values: [partition, from, next],
      })
      return new Map(rows.map((row) => [Number(row.log_offset), { seq: Number(row.seq), from: row.from_state, to: row.to_state }]))
    },
    async events(partition, from, before, limit) {
      const { rows } = await pool.query<EventRow>({ name: 'projection-events', text: EVENTS, values: [partition, from, before, limit] })
      return rows.map(({ seq, created_at: createdAt, log_offset: offset, appended_at: appendedAt, ...event }) => ({
        event: { ...event, created_at: Number(createdAt), decision_chain: '' },
        offset: Number(offset),
        appendedAt: Number(appendedAt),
        seq: Number(seq),
        from: event.from_state,
        to: event.to_state,
      }))
    },
    transaction: (partition, from, next, work) =>
      inTransaction(pool, async (client) => {
        const { rowCount } = await client.query({ name: 'projection-move', text: MOVE, values: [reader, partition, from, next] })
        if (rowCount !== 1) return (await offsetOf(reader, partition)) === from ? 'held' : 'overtaken'
        if (projection.how === 'handle') await client.query(`SET LOCAL search_path = ${quoted(schema)}`)
        await work(workOf(client, partition))
        return 'stored'
      }),
    async skipped(partition) {
      const { rows } = await pool.query<{ log_offset: string }>(
        'SELECT log_offset FROM refold.projection_skips WHERE projection = $1 AND generation = $2 AND partition = $3',
        [projection.name, generation, partition],
      )
      return new Set(rows.map(({ log_offset: offset }) => Number(offset)))
    },
    async park(partition, offset, error, event) {
      const evidence = {
        projection: projection.name,
        generation,
        offset,
        event: { id: event.id, name: event.name, execution: event.executionId },
        error: error.message,
      }
      await pool.query(
        `INSERT INTO refold.incidents (kind, subject, partition, summary, evidence) VALUES ('projection-parked', $1, $2, $3, $4)
         ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET summary = excluded.summary, evidence = excluded.evidence`,
        [`${reader}/${partition}`, partition, `${reader} stands at p${partition}:${offset}: ${error.message}`, JSON.stringify(evidence)],
      )
    },
    async mended(partition) {
      await pool.query(
        "UPDATE refold.incidents SET closed_at = now() WHERE kind = 'projection-parked' AND subject = $1 AND closed_at IS NULL",
        [`${reader}/${partition}`],
      )
    },
  }
}
