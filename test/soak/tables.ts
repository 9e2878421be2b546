// Whether the tables are what a workload must have made of them. Gives every fault found, in words.

import type { Pool } from 'pg'
import type { Log } from '../../kafka/log.ts'
import { type Expected, TENANT, type Workload } from './workload.ts'

type AuditRow = { execution_id: string; seq: string; event_id: string; to_state: string; payload: string }
type ExecutionRow = { execution_id: string; current_state: string; status: string; last_seq: string; data: Record<string, unknown> }

const sorted = (data: Record<string, unknown>) => JSON.stringify(Object.entries(data).toSorted(([a], [b]) => (a < b ? -1 : 1)))

function compareHistory(id: string, expected: Expected, rows: readonly AuditRow[]): string[] {
  if (rows.length !== expected.accepted.length) return [`${id}: ${rows.length} events in the audit, ${expected.accepted.length} expected`]
  return expected.accepted.flatMap((one, i) => {
    const row = rows[i]
    const same = row?.event_id === one.event_id && Number(row.seq) === i + 1 && row.payload === one.payload
    return same ? [] : [`${id}: seq ${i + 1} is ${row?.seq} ${row?.event_id}, expected ${one.event_id}`]
  })
}

function compareExecution(id: string, expected: Expected, row: ExecutionRow | undefined): string[] {
  const status = expected.ended ? 'completed' : 'running'
  const same =
    row?.current_state === expected.currentState &&
    row.status === status &&
    Number(row.last_seq) === expected.accepted.length &&
    sorted(row.data) === sorted(expected.data)
  return same ? [] : [`${id}: execution is ${JSON.stringify(row)}, expected ${expected.currentState}`]
}

function group<T extends { execution_id: string }>(rows: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const row of rows) {
    const known = groups.get(row.execution_id)
    if (known) known.push(row)
    else groups.set(row.execution_id, [row])
  }
  return groups
}

export async function checkTables(pool: Pool, work: Workload, log: Log, topic: string): Promise<string[]> {
  const audit = await pool.query<AuditRow>(
    'SELECT execution_id, seq, event_id, to_state, payload FROM refold.workflow_events WHERE tenant = $1 ORDER BY execution_id, seq',
    [TENANT],
  )
  const executions = await pool.query<ExecutionRow>(
    'SELECT execution_id, current_state, status, last_seq, data FROM refold.workflow_executions WHERE tenant = $1',
    [TENANT],
  )
  const histories = group(audit.rows)
  const states = group(executions.rows)
  const faults: string[] = []
  for (const [id, expected] of work.expected) {
    faults.push(...compareHistory(id, expected, histories.get(id) ?? []), ...compareExecution(id, expected, states.get(id)?.[0]))
  }
  if (states.size !== work.expected.size) faults.push(`${states.size} executions, ${work.expected.size} expected`)
  const verdicts = await pool.query<{ verdict: string; count: string }>(
    'SELECT verdict, count(*) FROM refold.event_verdicts GROUP BY verdict',
  )
  const count = (verdict: string) => Number(verdicts.rows.find((row) => row.verdict === verdict)?.count ?? 0)
  if (count('conflict') !== work.conflicts) faults.push(`${count('conflict')} conflicts, ${work.conflicts} expected`)
  // The producer may write a record of unknown outcome again: that is a duplicate more, or late once more, never less.
  if (count('duplicate') < work.repeats) faults.push(`${count('duplicate')} duplicates, at least ${work.repeats} expected`)
  if (count('late') < work.late) faults.push(`${count('late')} late, at least ${work.late} expected`)
  const checkpoints = await pool.query<{ partition: number; next: string }>(
    `SELECT partition, next_offset AS next FROM refold.checkpoints WHERE reader = 'recorder'`,
  )
  const next = new Map(checkpoints.rows.map((row) => [row.partition, Number(row.next)]))
  for (const { partition, high } of await log.bounds(topic)) {
    if (high > 0 && next.get(partition) !== high)
      faults.push(`checkpoint of p${partition} is ${next.get(partition)}, the log ends at ${high}`)
  }
  const total = audit.rows.length + verdicts.rows.reduce((sum, row) => sum + Number(row.count), 0)
  const ends = (await log.bounds(topic)).reduce((sum, { high }) => sum + high, 0)
  if (total !== ends) faults.push(`${total} verdicts for ${ends} records`)
  return faults
}
