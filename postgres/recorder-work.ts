// accepted events → recorder → [workflow_actions, workflow_timers, workflow_waits]
//
// Reads and writes the rows of workflow/work.ts, in the recorder's transaction. Each is one statement for a whole batch.

import type { ClientBase, Pool } from 'pg'
import type { PlacedWork, WorkNeed, WorkRead } from '../consumers/recorder-work.ts'
import { executionKey } from '../workflow/execution.ts'
import { parseJson } from '../workflow/json.ts'
import { type ActionRow, applyWork, noWork, type TimerRow, type WaitRow, type Work, WORK_EVENTS, type WorkRow } from '../workflow/work.ts'
import { timestamp } from './copy.ts'
import { put, statement } from './derived-tables.ts'
import type { Columns, Upsert, Value } from './upsert.ts'

const rowsOf = (table: string, column: string) => `
  SELECT w.tenant, w.execution_id, '${column}' AS kind, row_to_json(r)::text AS row
  FROM wanted w JOIN DERIVED.${table} r USING (tenant, execution_id) WHERE r.ended_at IS NULL
  UNION
  SELECT n.tenant, n.execution_id, '${column}', row_to_json(r)::text
  FROM named n JOIN DERIVED.${table} r ON r.tenant = n.tenant AND r.execution_id = n.execution_id AND r.${column} = n.n`

/** Open rows of executions, rows by their numbers, and which executions have any row at all (`known`). */
const READ = `
  WITH wanted AS (SELECT * FROM unnest($1::text[], $2::uuid[]) AS w (tenant, execution_id)),
       named AS (SELECT * FROM unnest($3::text[], $4::uuid[], $5::int[]) AS n (tenant, execution_id, n))
  ${rowsOf('workflow_actions', 'action')} UNION ALL ${rowsOf('workflow_timers', 'timer')} UNION ALL ${rowsOf('workflow_waits', 'wait')}
  UNION ALL
  SELECT w.tenant, w.execution_id, 'known', NULL FROM wanted w
  WHERE EXISTS (SELECT FROM DERIVED.workflow_actions r WHERE (r.tenant, r.execution_id) = (w.tenant, w.execution_id))
     OR EXISTS (SELECT FROM DERIVED.workflow_timers r WHERE (r.tenant, r.execution_id) = (w.tenant, w.execution_id))
     OR EXISTS (SELECT FROM DERIVED.workflow_waits r WHERE (r.tenant, r.execution_id) = (w.tenant, w.execution_id))`

type Found = { tenant: string; execution_id: string; kind: 'action' | 'timer' | 'wait' | 'known'; row: string | null }

type Json = Readonly<Record<string, unknown>>
const ms = (value: unknown): number => Date.parse(String(value))
const msOrNull = (value: unknown): number | null => (value === null ? null : ms(value))

function actionOf(row: Json): ActionRow {
  const { queue, key, worker, last_error: lastError } = row
  return {
    kind: 'action',
    n: Number(row['action']),
    name: String(row['name']),
    queue: queue as string | null,
    key: key as string | null,
    guarantee: String(row['guarantee']),
    status: row['status'] as ActionRow['status'],
    attempt: Number(row['attempt']),
    attempts: Number(row['attempts']),
    startedAt: ms(row['scheduled_at']),
    requestedAt: ms(row['requested_at']),
    nextAttemptAt: msOrNull(row['next_attempt_at']),
    endedAt: msOrNull(row['ended_at']),
    worker: worker as string | null,
    lastError: lastError as ActionRow['lastError'],
  }
}

const timerOf = (row: Json): TimerRow => ({
  kind: 'timer',
  n: Number(row['timer']),
  purpose: String(row['purpose']),
  action: row['action'] as number | null,
  fireAt: ms(row['fire_at']),
  status: row['status'] as TimerRow['status'],
  startedAt: ms(row['started_at']),
  endedAt: msOrNull(row['ended_at']),
})

const waitOf = (row: Json): WaitRow => ({
  kind: 'wait',
  n: Number(row['wait']),
  names: row['names'] as string[],
  timeoutAt: msOrNull(row['timeout_at']),
  status: row['status'] as WaitRow['status'],
  eventId: row['event_id'] as string | null,
  eventName: row['event_name'] as string | null,
  startedAt: ms(row['started_at']),
  endedAt: msOrNull(row['ended_at']),
})

function addFound(work: Work, kind: Exclude<Found['kind'], 'known'>, text: string | null): void {
  const json = parseJson(text ?? '{}') as Json
  if (kind === 'action') {
    const row = actionOf(json)
    work.actions.set(row.n, row)
  } else if (kind === 'timer') {
    const row = timerOf(json)
    work.timers.set(row.n, row)
  } else {
    const row = waitOf(json)
    work.waits.set(row.n, row)
  }
}

/** Rows read at a time. */
const PAGE = 1000
const HISTORY = `
  SELECT seq, event_name, payload, decision, (extract(epoch FROM appended_at) * 1000)::bigint AS appended_at
  FROM refold.workflow_events WHERE tenant = $1 AND execution_id = $2 AND seq > $3 AND event_name = ANY ($4) ORDER BY seq LIMIT ${PAGE}`

/** All rows of an execution, folded from its first event to its newest. */
async function foldWorkHistory(client: ClientBase | Pool, tenant: string, executionId: string): Promise<Work> {
  const work = noWork()
  for (let after = '0'; ;) {
    const { rows } = await client.query<{ seq: string; event_name: string; payload: string | null; decision: number; appended_at: string }>(
      HISTORY,
      [tenant, executionId, after, WORK_EVENTS],
    )
    for (const { appended_at: appendedAt, ...event } of rows) applyWork(work, { event, appendedAt: Number(appendedAt) })
    const last = rows.at(-1)
    if (!last || rows.length < PAGE) return work
    after = last.seq
  }
}

/**
 * What the fold needs of these executions. One that has made decisions and has no row was recorded before there were such
 * rows, or they were lost: it is folded from its history (`rebuilt`), and all of it is to be written.
 */
export async function readWork(client: ClientBase | Pool, generation: number, needs: readonly WorkNeed[]): Promise<Map<string, WorkRead>> {
  const named = needs.flatMap(({ tenant, executionId, numbers }) => numbers.map((n) => ({ tenant, executionId, n })))
  const { rows } = await client.query<Found>({
    ...statement(generation, 'recorder-work', READ),
    values: [
      needs.map(({ tenant }) => tenant),
      needs.map(({ executionId }) => executionId),
      named.map(({ tenant }) => tenant),
      named.map(({ executionId }) => executionId),
      named.map(({ n }) => n),
    ],
  })
  const found = new Map<string, WorkRead>()
  const known = new Set<string>()
  for (const { tenant, executionId } of needs) found.set(executionKey(tenant, executionId), { work: noWork(), rebuilt: false })
  for (const { tenant, execution_id: executionId, kind, row } of rows) {
    const key = executionKey(tenant, executionId)
    const read = found.get(key)
    if (kind === 'known') known.add(key)
    else if (read) addFound(read.work, kind, row)
  }
  for (const { tenant, executionId, decisions, doubted } of needs) {
    const key = executionKey(tenant, executionId)
    if (decisions > 0 && (doubted || !known.has(key)))
      found.set(key, { work: await foldWorkHistory(client, tenant, executionId), rebuilt: true })
  }
  return found
}

const OWNER = { tenant: 'text', execution_id: 'uuid' } as const

/** The first three columns name the row. A result, once there, stays. */
const work = (number: 'action' | 'timer' | 'wait', columns: Columns): Upsert => ({
  table: `DERIVED.workflow_${number}s`,
  columns,
  key: ['tenant', 'execution_id', number],
  merge: { result: 'coalesce(excluded.result, r.result)' },
})

const ACTIONS = work('action', {
  ...OWNER,
  action: 'int',
  partition: 'int',
  name: 'text',
  queue: 'text',
  key: 'text',
  guarantee: 'text',
  status: 'text',
  attempt: 'int',
  attempts: 'int',
  worker: 'text',
  last_error: 'json',
  result: 'json',
  scheduled_at: 'timestamptz',
  requested_at: 'timestamptz',
  next_attempt_at: 'timestamptz',
  ended_at: 'timestamptz',
})
const TIMERS = work('timer', {
  ...OWNER,
  timer: 'int',
  partition: 'int',
  purpose: 'text',
  action: 'int',
  fire_at: 'timestamptz',
  status: 'text',
  started_at: 'timestamptz',
  ended_at: 'timestamptz',
})
const WAITS = work('wait', {
  ...OWNER,
  wait: 'int',
  partition: 'int',
  names: 'json',
  timeout_at: 'timestamptz',
  status: 'text',
  event_id: 'text',
  event_name: 'text',
  started_at: 'timestamptz',
  ended_at: 'timestamptz',
})

const timeOf = (at: number | null) => (at === null ? null : timestamp(at))
const jsonOf = (value: unknown) => (value === null || value === undefined ? null : JSON.stringify(value))

const actionValues = (row: ActionRow) => [
  row.name,
  row.queue,
  row.key,
  row.guarantee,
  row.status,
  row.attempt,
  row.attempts,
  row.worker,
  jsonOf(row.lastError),
  jsonOf(row.result),
  timestamp(row.startedAt),
  timestamp(row.requestedAt),
  timeOf(row.nextAttemptAt),
  timeOf(row.endedAt),
]
const timerValues = (row: TimerRow) => [
  row.purpose,
  row.action,
  timestamp(row.fireAt),
  row.status,
  timestamp(row.startedAt),
  timeOf(row.endedAt),
]
const waitValues = (row: WaitRow) => [
  jsonOf(row.names),
  timeOf(row.timeoutAt),
  row.status,
  row.eventId,
  row.eventName,
  timestamp(row.startedAt),
  timeOf(row.endedAt),
]

/** Rows by kind, each with its table. */
export function workParts(placed: readonly PlacedWork[]): { name: string; spec: Upsert; rows: Value[][] }[] {
  const values = <K extends WorkRow['kind']>(kind: K, of: (row: Extract<WorkRow, { kind: K }>) => Value[]) =>
    placed.flatMap(({ tenant, executionId, partition, row }) =>
      row.kind === kind ? [[tenant, executionId, row.n, partition, ...of(row as Extract<WorkRow, { kind: K }>)]] : [],
    )
  return [
    { name: 'actions', spec: ACTIONS, rows: values('action', actionValues) },
    { name: 'timers', spec: TIMERS, rows: values('timer', timerValues) },
    { name: 'waits', spec: WAITS, rows: values('wait', waitValues) },
  ]
}

/** Writes each row once. */
export async function putWork(client: ClientBase, generation: number, placed: readonly PlacedWork[]): Promise<void> {
  if (placed.length === 0) return
  for (const { name, spec, rows } of workParts(placed)) await put(client, generation, name, spec, rows)
}
