// accepted events → projector → [Postgres]: rows of one generation (the port ProjectionStore of consumers/projection-port.ts)

import type { Pool, PoolClient } from 'pg'
import type { Change, Move, Outcome, ProjectionStore, ProjectionWork, RowKey, StoredRow } from '../consumers/projection-port.ts'
import type { PlainRow, Projection, TableDefinition } from '../projections/define.ts'
import { RowsRefused } from '../projections/refused.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { inTransaction } from './pool.ts'
import { column, quoted, readerOf, readRow, schemaOf, selected } from './projection-tables.ts'
import { READER } from './recorder-store.ts'

// Rows are locked in the order of partitions: two projectors that share some never wait for each other in a ring.
// Of a move that assumes, one snapshot has the recorder's checkpoint and the verdicts below it; looked up by the row to be moved, so
// once for each.
const MOVED = `
  WITH wanted AS (SELECT * FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bool[]) AS w (partition, was, next, assumed)),
  locked AS (
    SELECT partition FROM refold.checkpoints WHERE reader = $1 AND partition = ANY ($2) ORDER BY partition FOR UPDATE),
  moved AS (
  UPDATE refold.checkpoints c SET next_offset = w.next, moved_at = now(), parked_at = NULL
  FROM wanted w JOIN locked USING (partition)
  WHERE c.reader = $1 AND c.partition = w.partition AND c.next_offset = w.was
    AND (c.stop_at IS NULL OR c.stop_until < now() OR w.next <= c.stop_at)
    AND (NOT w.assumed OR (
      w.next <= (SELECT next_offset FROM refold.checkpoints WHERE reader = '${READER}' AND partition = c.partition)
      AND NOT EXISTS (SELECT FROM refold.event_verdicts WHERE partition = c.partition AND log_offset >= w.was AND log_offset < w.next)))
  RETURNING c.partition)`
const MOVE = `${MOVED} SELECT partition FROM moved`

// One statement, so one snapshot: verdicts are stored with the checkpoint that passes them.
const WINDOWS = `
  SELECT w.n, coalesce(r.next_offset, 0) AS recorded,
    (SELECT stop_at FROM refold.checkpoints WHERE reader = $1 AND partition = w.partition AND stop_until > now()) AS stop_at,
    ARRAY(SELECT log_offset FROM refold.event_verdicts
          WHERE partition = w.partition AND log_offset >= w.first AND log_offset < least(w.next, r.next_offset)) AS refused
  FROM unnest($2::int[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w (partition, first, next, n)
  LEFT JOIN refold.checkpoints r ON r.reader = '${READER}' AND r.partition = w.partition
  ORDER BY w.n`

const EVENTS = `
  SELECT event_id, tenant, execution_id, seq, event_name, event_type, from_state, to_state, user_id, payload,
         sent_from_state, sent_to_state,
         (extract(epoch FROM created_at) * 1000)::bigint AS created_at, causation_id, correlation_id, workflow_name, business_key, decision,
         log_offset, (extract(epoch FROM appended_at) * 1000)::bigint AS appended_at
  FROM refold.workflow_events WHERE partition = $1 AND log_offset >= $2 AND log_offset < $3 ORDER BY log_offset LIMIT $4`

type EventRow = Omit<WorkflowEvent, 'created_at' | 'decision_chain'> & {
  seq: string
  sent_from_state: string | null
  sent_to_state: string | null
  created_at: string
  log_offset: string
  appended_at: string
}

/** Statements of a fold's table, made once; prepared once by each connection. */
function statements(schema: string, table: TableDefinition) {
  const { name, columns, key } = table
  const into = `${quoted(schema)}.${quoted(name)}`
  const all = Object.entries(columns)
  const keyTypes = key.map((one) => columns[one] ?? 'text')
  const wanted = `unnest($1::int[], $2::text[], ${key.map((_, i) => `$${i + 3}::${keyTypes[i]}[]`).join(', ')}) AS w (partition, tenant, ${key.map(quoted).join(', ')})`
  const others = all.filter(([one]) => !key.includes(one)).map(([one]) => quoted(one))
  const written = ['partition', 'tenant', ...all.map(([one]) => quoted(one)), 'last_offset']
  const set = [...others, 'last_offset'].map((one) => `${one} = excluded.${one}`).join(', ')
  return {
    read: {
      name: `read ${schema}`,
      text: `SELECT t.partition, t.tenant, ${all.map(([one, type]) => selected(one, type, 't.')).join(', ')}
           FROM ${wanted} JOIN ${into} t USING (tenant, ${key.map(quoted).join(', ')}, partition)`,
    },
    /** Like put and remove, of the partitions that moved; parameters begin at these numbers. */
    putMoved: (first: number) =>
      `INSERT INTO ${into} (${written.join(', ')})
         SELECT ${written.map((one) => `v.${one}`).join(', ')}
         FROM unnest(${['int', 'text', ...all.map(([, type]) => type), 'bigint'].map((type, i) => `$${first + i}::${type}[]`).join(', ')})
           AS v (${written.join(', ')}) WHERE v.partition = ANY (ARRAY(SELECT partition FROM moved))
         ON CONFLICT (tenant, ${key.map(quoted).join(', ')}, partition) DO UPDATE SET ${set}`,
    removeMoved: (first: number) =>
      `DELETE FROM ${into} t
         USING unnest(${['int', 'text', ...keyTypes].map((type, i) => `$${first + i}::${type}[]`).join(', ')})
           AS w (partition, tenant, ${key.map(quoted).join(', ')})
         WHERE w.partition = ANY (ARRAY(SELECT partition FROM moved)) AND t.partition = w.partition AND t.tenant = w.tenant AND ${key.map((one) => `t.${quoted(one)} = w.${quoted(one)}`).join(' AND ')}`,
    put: {
      name: `put ${schema}`,
      text: `INSERT INTO ${into} (partition, tenant, ${all.map(([one]) => quoted(one)).join(', ')}, last_offset)
          SELECT * FROM unnest($1::int[], $2::text[], ${all.map(([, type], i) => `$${i + 3}::${type}[]`).join(', ')}, $${all.length + 3}::bigint[])
          ON CONFLICT (tenant, ${key.map(quoted).join(', ')}, partition) DO UPDATE SET ${set}`,
    },
    remove: {
      name: `remove ${schema}`,
      text: `DELETE FROM ${into} t USING ${wanted}
             WHERE t.partition = w.partition AND t.tenant = w.tenant AND ${key.map((one) => `t.${quoted(one)} = w.${quoted(one)}`).join(' AND ')}`,
    },
  }
}

/** Of refold.await_recorded: what was assumed does not hold, or the recorder takes too long. */
const NOT_RECORDED = new Set(['RF001', '55P03'])

/** J9. The end of a statement whose parts, of these names, are done before it; its parameters begin at this number. */
function awaitsRecorded(first: number, parts: readonly string[]): string {
  const written = ['0::bigint', ...parts.map((part) => `(SELECT count(*) FROM ${part})`)].join(' + ')
  const [locks, partitions, firsts, nexts] = [0, 1, 2, 3].map((i) => `$${first + i}`)
  return ` WHERE (SELECT refold.await_recorded(${locks}::bigint[], ${partitions}::int[], ${firsts}::bigint[], ${nexts}::bigint[], ${written}))`
}

/** Values that are no such type, a key twice in a batch, one that is null, one too long for its index. */
const NOT_TAKEN = /^(21|22|23|54)/

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '')

/** A statement of rows. Rejects with RowsRefused where it is the rows that are wrong: also those that pg could not write down. */
async function ofRows<T>(statement: () => Promise<T>): Promise<T> {
  try {
    return await statement()
  } catch (error) {
    const code = codeOf(error)
    if (error instanceof TypeError || (error instanceof Error && NOT_TAKEN.test(code))) throw new RowsRefused(error)
    throw error
  }
}

/** `pool` connects as refold_engine. */
export function createProjectionStore(pool: Pool, projection: Projection, generation: number): ProjectionStore {
  const reader = readerOf(projection.name, generation)
  const schema = schemaOf(projection.name, generation)
  const [table] = projection.tables
  const made = table ? statements(schema, table) : undefined

  const keyValues = (rows: readonly RowKey[]): unknown[] => [
    rows.map(({ partition }) => partition),
    rows.map(({ tenant }) => tenant),
    ...(table?.key ?? []).map((name) =>
      column(
        rows.map(({ key }) => key),
        name,
        table?.columns[name] ?? 'text',
      ),
    ),
  ]

  const keptOf = (changes: readonly Change[]) =>
    changes.flatMap(({ partition, tenant, row, offset }) => (row === null ? [] : [{ partition, tenant, row, offset }]))

  function putValues(kept: ReturnType<typeof keptOf>): unknown[] {
    const rows = kept.map(({ row }) => row)
    return [
      kept.map(({ partition }) => partition),
      kept.map(({ tenant }) => tenant),
      ...Object.entries(table?.columns ?? {}).map(([name, type]) => column(rows, name, type)),
      kept.map(({ offset }) => offset),
    ]
  }

  async function write(client: PoolClient, changes: readonly Change[]): Promise<void> {
    if (!table || !made) return
    const kept = keptOf(changes)
    const gone = changes.filter(({ row }) => row === null)
    if (kept.length > 0) {
      await ofRows(() => client.query({ ...made.put, values: putValues(kept) }))
    }
    if (gone.length > 0) await ofRows(() => client.query({ ...made.remove, values: keyValues(gone) }))
  }

  async function readRows(client: Pool | PoolClient, keys: readonly RowKey[]): Promise<StoredRow[]> {
    if (!table || !made) return []
    const { rows } = await ofRows(() => client.query<PlainRow>({ ...made.read, values: keyValues(keys) }))
    return rows.map((row) => ({ partition: Number(row['partition']), tenant: String(row['tenant']), row: readRow(row, table) }))
  }

  /** `later`: what is assumed is looked at by J9. */
  const moveValues = (moves: readonly Move[], later = false): unknown[] => [
    reader,
    moves.map(({ partition }) => partition),
    moves.map(({ from }) => from),
    moves.map(({ next }) => next),
    moves.map(({ assumed = false }) => assumed && !later),
  ]

  /** Of those that did not move: `held`, or somebody else moved them. */
  const outcomesOf = (moves: readonly Move[], moved: ReadonlySet<number>): Promise<Outcome[]> =>
    Promise.all(
      moves.map(async ({ partition, from }) => {
        if (moved.has(partition)) return 'stored'
        return (await offsetOf(reader, partition)) === from ? 'held' : 'overtaken'
      }),
    )

  /** One statement, which is a transaction. */
  async function writeAtOnce(moves: readonly Move[], changes: readonly Change[]): Promise<Outcome[]> {
    const locks = [...new Set(moves.flatMap(({ lock }) => lock ?? []))]
    const awaits = locks.length > 0
    const values = moveValues(moves, awaits)
    const kept = keptOf(changes)
    const gone = changes.filter(({ row }) => row === null)
    const parts = new Map<string, string>()
    if (made && kept.length > 0) {
      parts.set('put', made.putMoved(values.length + 1))
      values.push(...putValues(kept))
    }
    if (made && gone.length > 0) {
      parts.set('removed', made.removeMoved(values.length + 1))
      values.push(...keyValues(gone))
    }
    const ctes = [...parts].map(([part, text]) => `${part} AS (${text}${awaits ? ' RETURNING 1' : ''})`)
    const name = `${kept.length > 0 ? 'p' : ''}${gone.length > 0 ? 'r' : ''}${awaits ? 'a' : ''} ${schema}`
    const end = awaits ? awaitsRecorded(values.length + 1, [...parts.keys()]) : ''
    const text = `${[MOVED, ...ctes].join(', ')} SELECT partition FROM moved${end}`
    if (awaits) {
      const assumed = moves.filter((move) => move.assumed)
      values.push(
        locks,
        assumed.map(({ partition }) => partition),
        assumed.map(({ from }) => from),
        assumed.map(({ next }) => next),
      )
    }
    try {
      const { rows } = await pool.query<{ partition: number }>({ name, text, values })
      return await outcomesOf(moves, new Set(rows.map(({ partition }) => partition)))
    } catch (error) {
      if (!awaits || !NOT_RECORDED.has(codeOf(error))) throw error
      // Nothing was written: those that wait for nobody are written without the others.
      const rest = moves.filter(({ lock }) => lock === undefined)
      const own = new Set(rest.map(({ partition }) => partition))
      const outcomes =
        rest.length === 0
          ? []
          : await writeAtOnce(
              rest,
              changes.filter(({ partition }) => own.has(partition)),
            )
      return moves.map((move) => (move.lock === undefined ? (outcomes[rest.indexOf(move)] ?? 'held') : 'held'))
    }
  }

  const workOf = (client: PoolClient): ProjectionWork => ({
    read: (keys) => readRows(client, keys),
    write: (changes) => write(client, changes),
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
    async windows(asked) {
      const { rows } = await pool.query<{ recorded: string; stop_at: string | null; refused: string[] }>({
        name: 'projection-windows',
        text: WINDOWS,
        values: [reader, asked.map(({ partition }) => partition), asked.map(({ from }) => from), asked.map(({ next }) => next)],
      })
      return rows.map(({ recorded, stop_at: stopAt, refused }) => ({
        recorded: Number(recorded),
        stopAt: stopAt === null ? undefined : Number(stopAt),
        refused: new Set(refused.map(Number)),
      }))
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
      return rows.map(({ seq, created_at: createdAt, log_offset: offset, appended_at: appendedAt, ...row }) => {
        const { from_state: computedFrom, to_state: computedTo, sent_from_state: sentFrom, sent_to_state: sentTo, ...event } = row
        return {
          event: {
            ...event,
            from_state: sentFrom ?? computedFrom,
            to_state: sentTo ?? computedTo,
            created_at: Number(createdAt),
            decision_chain: '',
            decision_seq: 0,
            decision_input: '',
          },
          offset: Number(offset),
          appendedAt: Number(appendedAt),
          seq: Number(seq),
          from: computedFrom,
          to: computedTo,
        }
      })
    },
    async transaction(moves, work) {
      const moved = await inTransaction(pool, async (client) => {
        const { rows } = await client.query<{ partition: number }>({
          name: 'projection-move',
          text: MOVE,
          values: moveValues(moves),
        })
        const partitions = new Set(rows.map(({ partition }) => partition))
        if (partitions.size === 0) return partitions
        if (projection.how === 'handle') await client.query(`SET LOCAL search_path = ${quoted(schema)}`)
        await work(workOf(client), partitions)
        return partitions
      })
      return outcomesOf(moves, moved)
    },
    ...(projection.how === 'fold'
      ? { foldsFirst: { read: (keys) => readRows(pool, keys), write: (moves, changes) => ofRows(() => writeAtOnce(moves, changes)) } }
      : {}),
    async skipped(partition) {
      const { rows } = await pool.query<{ log_offset: string }>(
        'SELECT log_offset FROM refold.projection_skips WHERE projection = $1 AND generation = $2 AND partition = $3',
        [projection.name, generation, partition],
      )
      return new Set(rows.map(({ log_offset: offset }) => Number(offset)))
    },
    async takeSkip(partition, offset) {
      const { rows } = await pool.query<{ reason: string }>(
        `INSERT INTO refold.projection_skips (projection, generation, partition, log_offset, reason)
         SELECT projection, $2, partition, log_offset, reason || ' (taken over from generation ' || generation || ')'
         FROM refold.projection_skips WHERE projection = $1 AND generation <> $2 AND partition = $3 AND log_offset = $4
         ORDER BY skipped_at, generation LIMIT 1
         ON CONFLICT DO NOTHING RETURNING reason`,
        [projection.name, generation, partition, offset],
      )
      return rows[0]?.reason
    },
    async isParked(partition) {
      const { rowCount } = await pool.query(
        "SELECT FROM refold.incidents WHERE kind = 'projection-parked' AND subject = $1 AND closed_at IS NULL",
        [`${reader}/${partition}`],
      )
      return rowCount === 1
    },
    async park(partition, offset, error, event) {
      await pool.query('UPDATE refold.checkpoints SET parked_at = $3 WHERE reader = $1 AND partition = $2', [reader, partition, offset])
      const evidence = {
        projection: projection.name,
        generation,
        offset,
        event: { id: event.id, name: event.name, execution: event.executionId },
        error: error.message,
      }
      await pool.query(
        `WITH mine AS (SELECT FROM refold.generations WHERE projection = $5 AND generation = $6 AND state <> 'retired' FOR SHARE)
         INSERT INTO refold.incidents (kind, subject, partition, summary, evidence) SELECT 'projection-parked', $1, $2, $3, $4 FROM mine
         ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET summary = excluded.summary, evidence = excluded.evidence`,
        [
          `${reader}/${partition}`,
          partition,
          `${reader} stands at p${partition}:${offset}: ${error.message}`,
          JSON.stringify(evidence),
          projection.name,
          generation,
        ],
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
