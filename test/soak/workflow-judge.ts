// What the log, the derived tables and the outside ledger must hold when random programs have run under fire.

import type { Pool } from 'pg'
import { endingFault } from '../support/random-ending.ts'
import { programOf } from '../support/random-workflow.ts'
import type { Kept } from './kept.ts'
import { type Asked, type Effect, effectFaults, type Keyed, lackingFaults, type Lapse, type Outcome } from './repeats.ts'

/** Everything that is not as the programs demand. */
export async function judge(
  pool: Pool,
  started: ReadonlyMap<number, string>,
  fighters: readonly Kept[],
  lapses: readonly Lapse[],
): Promise<string[]> {
  const faults: string[] = []
  const { rows } = await pool.query<{
    execution_id: string
    status: string
    result: string
    data: string
    state: string
    error: string | null
  }>(
    `SELECT execution_id, status, coalesce(result::text, 'null') AS result, data::text AS data, current_state AS state, error::text AS error
     FROM refold.workflow_executions`,
  )
  const ended = new Map(rows.map((row) => [row.execution_id, row]))
  const parse = (text: string): unknown => JSON.parse(text)
  for (const [n, executionId] of started) {
    const row = ended.get(executionId)
    const found = row && {
      status: row.status,
      result: parse(row.result),
      data: parse(row.data) as Record<string, unknown>,
      currentState: row.state,
    }
    const fault = endingFault(programOf(n), found)
    if (fault !== undefined) faults.push(`seed ${n} (${executionId}) ${fault}${row?.error ? `; ${row.error}` : ''}`)
  }
  const incidents = await pool.query<{ summary: string; subject: string }>(
    'SELECT subject, summary FROM refold.incidents WHERE closed_at IS NULL',
  )
  faults.push(...incidents.rows.map(({ subject, summary }) => `incident of ${subject}: ${summary}`))
  const outcomes = await pool.query<{ execution_id: string; action: number; n: string }>(`
    SELECT execution_id, (payload::json ->> 'action')::int AS action, count(*) AS n FROM refold.workflow_events
    WHERE event_name IN ('action.completed', 'action.failed') GROUP BY 1, 2 HAVING count(*) > 1`)
  faults.push(...outcomes.rows.map(({ execution_id, action, n }) => `action ${action} of ${execution_id} has ${n} outcomes`))
  const stronger = await pool.query<{ guarantee: string; execution: string; action: number; n: string }>(`
    SELECT guarantee, execution, action, count(*) AS n FROM ledger WHERE guarantee <> 'at-least-once' GROUP BY 1, 2, 3 HAVING count(*) > 1`)
  faults.push(
    ...stronger.rows.map(({ guarantee, execution, action, n }) => `${guarantee} action ${action} of ${execution} had ${n} effects`),
  )
  faults.push(...(await lackingFaultsOf(pool)), ...(await effectFaultsOf(pool, fighters, lapses)))
  return faults
}

/** Which actions completed without an effect. */
async function lackingFaultsOf(pool: Pool): Promise<string[]> {
  const keyed = async (from: string) => {
    const { rows } = await pool.query<Keyed>(
      `SELECT DISTINCT done.execution, done.action, coalesce(s.payload::json ->> 'key', s.event_id::text) AS key FROM (${from}) AS done
       JOIN refold.workflow_events s ON s.execution_id = done.execution AND s.decision = done.action AND s.event_name = 'action.scheduled'`,
    )
    return rows
  }
  const completed = await keyed(
    `SELECT execution_id AS execution, (payload::json ->> 'action')::int AS action FROM refold.workflow_events
     WHERE event_name = 'action.completed'`,
  )
  return lackingFaults(completed, await keyed('SELECT execution, action FROM ledger'))
}

/** Which effects nothing explains. */
async function effectFaultsOf(pool: Pool, fighters: readonly Kept[], lapses: readonly Lapse[]): Promise<string[]> {
  const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`
  const effects = await pool.query<Effect & { repeatable: boolean }>(
    `SELECT execution, action, attempt, pid, ${ms('at')} AS at, guarantee = 'at-least-once' AS repeatable FROM ledger`,
  )
  const told = await pool.query<Told>(
    `SELECT execution_id AS execution, payload::json ->> 'action' AS action, payload::json ->> 'attempt' AS attempt,
       payload::json ->> 'worker' AS worker, ${ms('appended_at')} AS at
     FROM refold.workflow_events WHERE event_name IN ('action.completed', 'action.attemptFailed')`,
  )
  const asked = await pool.query<Asked>(
    `SELECT execution_id AS execution, decision AS action, 1 AS attempt, ${ms('appended_at')} AS at
     FROM refold.workflow_events WHERE event_name = 'action.scheduled'
     UNION ALL
     SELECT execution_id, (payload::json ->> 'action')::int, (payload::json ->> 'attempt')::int, ${ms('appended_at')}
     FROM refold.workflow_events WHERE event_name = 'action.retried'`,
  )
  return effectFaults({
    effects: effects.rows,
    outcomes: told.rows.map(outcomeOf),
    asked: asked.rows,
    deaths: fighters.flatMap(({ roles, killed }) => killed.map((death) => ({ roles, ...death }))),
    lapses,
  })
}

type Told = { execution: string; action: string; attempt: string; worker: string; at: number }

/** A worker's name has its pid: worker-<host>-<pid>-<8 characters>. */
function outcomeOf({ execution, action, attempt, worker, at }: Told): Outcome {
  const pid = Number(/-(\d+)-[^-]+$/.exec(worker)?.[1])
  if (!pid) throw new Error(`no pid in ${worker}`)
  return { execution, action: Number(action), attempt: Number(attempt), pid, at }
}
