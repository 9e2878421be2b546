// What a driven execution has asked for: its actions, and what of all its work is open.

import { sql } from 'slonik'
import { z } from 'zod'
import { outcomeIdOf } from '../../workflow/ids.ts'
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

const placeRow = z.object({
  event_id: z.string(),
  event_name: z.string(),
  partition: z.number(),
  log_offset: z.string(),
  appended_at: z.string(),
})
/** An accepted event, and where it stands. */
export type EventPlace = z.infer<typeof placeRow>

/** wanted: an open wait takes it · failed: of an attempt, and what comes next is not decided · cancel: the first. */
export type UnansweredRow = EventPlace & { kind: 'wanted' | 'failed' | 'cancel' }

/** What of an execution's work is open, and what else a diagnosis asks of its history. */
export type OpenWork = {
  actions: readonly ActionRow[]
  timers: readonly TimerRow[]
  waits: readonly WaitRow[]
  /** Accepted, and no decision answers it yet; in the order of the log. */
  unanswered: readonly UnansweredRow[]
  newest: EventPlace | null
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

const PLACE = sql.fragment`event_id, event_name, partition, log_offset::text AS log_offset, ${timeText('appended_at')}`

/** Failed attempts that are looked up: a diagnosis tells ten. */
const MOST_FAILED = 100

/**
 * What waits took is in their rows; a decision on a cancel names it as its cause; the outcome of an attempt has the attempt's id. Of a
 * name no more than there are waits: many of one would hide those of another.
 */
async function readUnanswered(
  transaction: Transaction,
  tenant: string,
  executionId: string,
  { waits, actions }: Pick<OpenWork, 'waits' | 'actions'>,
): Promise<UnansweredRow[]> {
  const mine = sql.fragment`e.tenant = ${tenant} AND e.execution_id = ${executionId}`
  const names = [...new Set(waits.flatMap((wait) => wait.names))]
  const undecided = actions
    .filter(({ status, next_attempt_at: next }) => status === 'backing-off' && next === null)
    .slice(0, MOST_FAILED)
    .map(({ action, attempt }) => outcomeIdOf(tenant, executionId, action, attempt))
  const wanted =
    names.length === 0
      ? []
      : await transaction.any(sql.type(placeRow)`
        SELECT ${PLACE} FROM (
          SELECT *, row_number() OVER (PARTITION BY e.event_name ORDER BY e.seq) AS nth FROM refold.workflow_events e
          WHERE ${mine} AND e.decision = 0 AND e.event_name = ANY (${sql.array(names, 'text')}) AND NOT EXISTS (
            SELECT FROM refold.workflow_waits w
            WHERE w.tenant = e.tenant AND w.execution_id = e.execution_id AND w.event_id = e.event_id::text)) u
        WHERE u.nth <= ${waits.length} ORDER BY u.seq`)
  const failed =
    undecided.length === 0
      ? []
      : await transaction.any(sql.type(placeRow)`
        SELECT ${PLACE} FROM refold.workflow_events e WHERE ${mine} AND e.event_id = ANY (${sql.array(undecided, 'uuid')}) ORDER BY e.seq`)
  const cancels = await transaction.any(sql.type(placeRow)`
    WITH cancel AS (
      SELECT * FROM refold.workflow_events e WHERE ${mine} AND e.event_name = 'workflow.cancelRequested' AND e.seq > (
        SELECT min(e.seq) FROM refold.workflow_events e WHERE ${mine} AND e.event_name = 'workflow.started' AND e.decision = 0)
      ORDER BY e.seq LIMIT 1)
    SELECT ${PLACE} FROM cancel c WHERE NOT EXISTS (
      SELECT FROM refold.workflow_events e WHERE ${mine} AND e.seq > c.seq AND e.decision > 0 AND e.causation_id::text = c.event_id::text)`)
  const of = (rows: readonly EventPlace[], kind: UnansweredRow['kind']) => rows.map((row) => ({ ...row, kind }))
  return [...of(wanted, 'wanted'), ...of(failed, 'failed'), ...of(cancels, 'cancel')]
}

async function openWork(transaction: Transaction, tenant: string, executionId: string): Promise<OpenWork> {
  const mine = sql.fragment`tenant = ${tenant} AND execution_id = ${executionId}`
  const actions = await transaction.any(sql.type(actionRow)`
    SELECT ${ACTION} FROM refold.workflow_actions a WHERE ${mine} AND a.ended_at IS NULL ORDER BY a.action`)
  const timers = await transaction.any(sql.type(timerRow)`
    SELECT timer, purpose, action, ${timeText('fire_at')}, ${timeText('started_at')}
    FROM refold.workflow_timers t WHERE ${mine} AND t.ended_at IS NULL ORDER BY t.timer`)
  const waits = await openWaits(transaction, tenant, executionId)
  const unanswered = await readUnanswered(transaction, tenant, executionId, { waits, actions })
  const head = await transaction.maybeOne(sql.type(decisionsRow)`SELECT decision FROM refold.execution_heads WHERE ${mine}`)
  const paused = await transaction.maybeOne(sql.type(pausedRow)`
    SELECT ${timeText('appended_at')} FROM refold.workflow_events e
    WHERE ${mine} AND event_name = 'workflow.pauseRequested' ORDER BY e.seq DESC LIMIT 1`)
  // Last: each statement sees what is committed by then, so nothing read above is newer than this.
  const newest = await transaction.maybeOne(sql.type(placeRow)`
    SELECT ${PLACE} FROM refold.workflow_events e WHERE ${mine} ORDER BY e.seq DESC LIMIT 1`)
  return { actions, timers, waits, unanswered, newest, decisions: head?.decision ?? 0, pausedAt: paused?.appended_at ?? null }
}

export const readOpenWork = (pool: ReadPool, tenant: string, executionId: string): Promise<OpenWork> =>
  pool.read(tenant, (transaction) => openWork(transaction, tenant, executionId))
