// What a driven execution has asked for: its actions, and what of all its work is open.

import { sql } from 'slonik'
import { z } from 'zod'
import { type Read, readWithCheckpoints } from './checkpoints.ts'
import { executionIsKnown } from './events.ts'
import type { ReadPool, Transaction } from './pool.ts'
import { timeText } from './time.ts'

const actionRow = z.object({
  action: z.number(),
  name: z.string(),
  queue: z.string().nullable(),
  key: z.string().nullable(),
  guarantee: z.string(),
  status: z.enum(['running', 'backing-off', 'completed', 'failed', 'cancelled', 'abandoned']),
  attempt: z.number(),
  attempts: z.number(),
  worker: z.string().nullable(),
  last_error: z.string().nullable(),
  result: z.string().nullable(),
  scheduled_at: z.string(),
  requested_at: z.string(),
  next_attempt_at: z.string().nullable(),
  ended_at: z.string().nullable(),
})
/** `last_error` and `result` are JSON text; times are ISO 8601 in UTC. */
export type ActionRow = z.infer<typeof actionRow>

const ACTION = sql.fragment`
  action, name, queue, key, guarantee, status, attempt, attempts, worker, last_error::text AS last_error, result::text AS result,
  ${timeText('scheduled_at')}, ${timeText('requested_at')}, ${timeText('next_attempt_at')}, ${timeText('ended_at')}`

const timerRow = z.object({
  timer: z.number(),
  purpose: z.string(),
  action: z.number().nullable(),
  fire_at: z.string(),
  started_at: z.string(),
})
export type TimerRow = z.infer<typeof timerRow>

const waitRow = z.object({
  wait: z.number(),
  names: z.string().transform((text) => JSON.parse(text) as string[]),
  started_at: z.string(),
  timeout_at: z.string().nullable(),
})
export type WaitRow = z.infer<typeof waitRow>

/** Actions with a number above `after`, at most `limit`, in order of their numbers; undefined when there is no such execution. */
export function readActions(
  pool: ReadPool,
  tenant: string,
  executionId: string,
  partition: number,
  { after, limit }: { after: number; limit: number },
): Promise<Read<readonly ActionRow[] | undefined>> {
  return readWithCheckpoints(pool, tenant, partition, async (transaction) => {
    const rows = await transaction.any(sql.type(actionRow)`
      SELECT ${ACTION} FROM refold.workflow_actions a
      WHERE tenant = ${tenant} AND execution_id = ${executionId} AND a.action > ${after} ORDER BY a.action LIMIT ${limit}`)
    return rows.length > 0 || (await executionIsKnown(transaction, tenant, executionId)) ? rows : undefined
  })
}

/** What of an execution's work is open, and what else a diagnosis asks of its history. */
export type OpenWork = {
  actions: readonly ActionRow[]
  timers: readonly TimerRow[]
  waits: readonly WaitRow[]
  /** Decisions so far. */
  decisions: number
  /** When its newest pause was asked for. */
  pausedAt: string | null
}

const decisionsRow = z.object({ decision: z.number() })
const pausedRow = z.object({ appended_at: z.string() })

/**
 * The fold (workflow/work.ts) takes cancels in the order of the log, a replay at its own pace: a wait that was decided before the first
 * cancel is ended by it though it stands behind it in the log, and one that was decided then is ended by none that comes later.
 */
const openWaits = (transaction: Transaction, tenant: string, executionId: string) =>
  transaction.any(sql.type(waitRow)`
    WITH mine AS NOT MATERIALIZED (SELECT * FROM refold.workflow_events WHERE tenant = ${tenant} AND execution_id = ${executionId}),
         cancel AS (SELECT seq, appended_at FROM mine WHERE event_name = 'workflow.cancelRequested'
                      AND seq > (SELECT min(seq) FROM mine WHERE event_name = 'workflow.started' AND decision = 0) ORDER BY seq LIMIT 1),
         behind AS (SELECT d.decision AS wait, d.created_at < c.appended_at AS is_over FROM cancel c JOIN mine d ON d.seq > c.seq
                      WHERE d.event_name = 'wait.started')
    SELECT wait, names::text AS names, ${timeText('started_at')}, ${timeText('timeout_at')}
    FROM refold.workflow_waits w LEFT JOIN behind b USING (wait) WHERE tenant = ${tenant} AND execution_id = ${executionId}
      AND CASE WHEN b.wait IS NULL THEN ended_at IS NULL ELSE status IN ('open', 'cancelled') AND NOT is_over END
    ORDER BY wait`)

async function openWork(transaction: Transaction, tenant: string, executionId: string): Promise<OpenWork> {
  const mine = sql.fragment`tenant = ${tenant} AND execution_id = ${executionId}`
  const actions = await transaction.any(sql.type(actionRow)`
    SELECT ${ACTION} FROM refold.workflow_actions a WHERE ${mine} AND a.ended_at IS NULL ORDER BY a.action`)
  const timers = await transaction.any(sql.type(timerRow)`
    SELECT timer, purpose, action, ${timeText('fire_at')}, ${timeText('started_at')}
    FROM refold.workflow_timers t WHERE ${mine} AND t.ended_at IS NULL ORDER BY t.timer`)
  const waits = await openWaits(transaction, tenant, executionId)
  const head = await transaction.maybeOne(sql.type(decisionsRow)`SELECT decision FROM refold.execution_heads WHERE ${mine}`)
  const paused = await transaction.maybeOne(sql.type(pausedRow)`
    SELECT ${timeText('appended_at')} FROM refold.workflow_events e
    WHERE ${mine} AND event_name = 'workflow.pauseRequested' ORDER BY e.seq DESC LIMIT 1`)
  return { actions, timers, waits, decisions: head?.decision ?? 0, pausedAt: paused?.appended_at ?? null }
}

export const readOpenWork = (pool: ReadPool, tenant: string, executionId: string): Promise<OpenWork> =>
  pool.read(tenant, (transaction) => openWork(transaction, tenant, executionId))
