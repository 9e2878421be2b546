// requests → action workers → [Postgres]: claims, outcomes of the stronger guarantees, progress, checkpoints
//
// The ports ActionStore (consumers/attempt-port.ts) and WorkerStore (consumers/action-worker.ts).

import type { Pool, PoolClient } from 'pg'
import type { WorkerStore } from '../consumers/action-worker.ts'
import type { ActionStore } from '../consumers/attempt-port.ts'
import type { AttemptOutcome } from '../producers/inputs.ts'
import type { ActionRequest } from '../schemas/generated.ts'
import type { ActionSql, Isolation } from '../workflow/action.ts'
import { outcomeIdOf } from '../workflow/ids.ts'
import { parsePlain } from '../workflow/json.ts'
import { endStatements } from './cancel.ts'
import { createCheckpointMover } from './checkpoints.ts'
import { inTransaction } from './pool.ts'
import { createTurns } from './turns.ts'

const attemptOf = ({ tenant, execution_id, action, attempt }: ActionRequest) => [tenant, execution_id, action, attempt]

/** Results stay text: numbers that a double cannot hold are not touched. */
const textOf = (outcome: AttemptOutcome) => ('result' in outcome ? `{"result":${outcome.result}}` : JSON.stringify(outcome))

function outcomeOf(text: string): AttemptOutcome {
  if (text.startsWith('{"result":')) return { result: text.slice('{"result":'.length, -1) }
  return parsePlain(text) as AttemptOutcome
}

const PUT_OUTCOME = `
  INSERT INTO refold.action_outcomes (tenant, execution_id, action, attempt, outcome, worker) VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (tenant, execution_id, action, attempt) DO NOTHING`

const CLAIM = `
  INSERT INTO refold.action_claims AS c (tenant, execution_id, action, attempt, worker, expires_at)
  VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 millisecond')
  ON CONFLICT (tenant, execution_id, action, attempt) DO NOTHING`

// An old request: its execution has ended, its attempt has an outcome, or its action was given up.
const IS_OPEN = `
  SELECT h.phase = 'driven'
    AND NOT EXISTS (SELECT FROM refold.workflow_events e WHERE e.tenant = $1 AND e.execution_id = $2 AND e.event_id = $3)
    AND NOT EXISTS (
      SELECT FROM refold.workflow_events e WHERE e.tenant = $1 AND e.execution_id = $2
        AND e.event_name IN ('action.cancelled', 'action.failed') AND (e.payload::json ->> 'action')::int = $4) AS open
  FROM refold.execution_heads h WHERE h.tenant = $1 AND h.execution_id = $2`

const TELL = `
  INSERT INTO refold.action_progress AS p (tenant, execution_id, action, attempt, progress) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (tenant, execution_id, action) DO UPDATE
    SET attempt = excluded.attempt, progress = coalesce(excluded.progress, p.progress), told_at = now()`

const ISOLATION: Readonly<Record<Isolation, string>> = {
  'read committed': 'READ COMMITTED',
  'repeatable read': 'REPEATABLE READ',
  serializable: 'SERIALIZABLE',
}

/** Undoes an action's work because its attempt has an outcome already. */
class AlreadyEnded extends Error {}

/** Added to the timeout of an attempt for what the server ends by itself, ms: its worker is first, where it lives. */
const SPARE = 1000
/** The longest that the server takes, ms. */
const LONGEST = 2 ** 31 - 1

/**
 * The author's hand on a transaction; after `end` it lets nothing through: the connection is somebody else's then. `running` are the
 * statements that have no answer yet.
 */
function sqlOf(client: PoolClient): { sql: ActionSql; end: () => void; running: ReadonlySet<Promise<unknown>> } {
  let ended = false
  const running = new Set<Promise<unknown>>()
  const sql: ActionSql = {
    async query(text, values = []) {
      if (ended) throw new Error('the transaction of this attempt has ended: nothing more is written')
      const answer = client.query(text, [...values])
      running.add(answer)
      try {
        const { rows } = await answer
        return rows as readonly Record<string, unknown>[]
      } finally {
        running.delete(answer)
      }
    },
  }
  return { sql, end: () => (ended = true), running }
}

/**
 * `engine` connects as refold_engine; `actions` as the role that logs in: authors' database actions run there, and their
 * outcomes are written in the same transaction.
 */
export function createActionStore(engine: Pool, actions: Pool, worker: string): ActionStore {
  // A connection each, and the pool's own queue gives up after a while: that it was full is no outcome of an attempt.
  const inTurn = createTurns(actions.options.max)

  async function stored(request: ActionRequest): Promise<AttemptOutcome | undefined> {
    const { rows } = await engine.query<{ outcome: string }>({
      name: 'action-outcome',
      text: 'SELECT outcome FROM refold.action_outcomes WHERE tenant = $1 AND execution_id = $2 AND action = $3 AND attempt = $4',
      values: attemptOf(request),
    })
    return rows[0] && outcomeOf(rows[0].outcome)
  }

  return {
    async isOpen(request) {
      const { tenant, execution_id: execution, action, attempt } = request
      const id = outcomeIdOf(tenant, execution, action, attempt)
      const { rows } = await engine.query<{ open: boolean }>(IS_OPEN, [tenant, execution, id, action])
      return rows[0]?.open ?? true // not recorded yet: it is wanted
    },
    outcome: stored,
    async putOutcome(request, outcome) {
      const { rowCount } = await engine.query(PUT_OUTCOME, [...attemptOf(request), textOf(outcome), worker])
      return rowCount === 1 ? outcome : ((await stored(request)) ?? outcome)
    },
    async claim(request, ttl) {
      const { rowCount } = await engine.query(CLAIM, [...attemptOf(request), worker, ttl])
      if (rowCount === 1) return 'ours'
      const { rows } = await engine.query<{ expired: boolean }>(
        'SELECT expires_at < now() AS expired FROM refold.action_claims WHERE tenant = $1 AND execution_id = $2 AND action = $3 AND attempt = $4',
        attemptOf(request),
      )
      return rows[0]?.expired === true ? 'expired' : 'held'
    },
    async renew(request, ttl) {
      await engine.query(
        `UPDATE refold.action_claims SET expires_at = now() + $6 * interval '1 millisecond'
         WHERE tenant = $1 AND execution_id = $2 AND action = $3 AND attempt = $4 AND worker = $5`,
        [...attemptOf(request), worker, ttl],
      )
    },
    async inTransaction(request, { isolation, timeout }, work) {
      const limit = Math.min(Math.ceil(timeout) + SPARE, LONGEST)
      let running: ReadonlySet<Promise<unknown>> = new Set()
      const transaction = async (client: PoolClient) => {
        // The role that logs in need not go past row-level security: it is let see this tenant's outcomes, as refold_api is.
        // SET only: a SELECT would take the snapshot of a repeatable read before the author's own locks.
        const tenant = client.escapeLiteral(request.tenant)
        await client.query(`
          SET TRANSACTION ISOLATION LEVEL ${ISOLATION[isolation]}; SET LOCAL refold.tenant = ${tenant};
          SET LOCAL statement_timeout = ${limit}; SET LOCAL idle_in_transaction_session_timeout = ${limit}`)
        const author = sqlOf(client)
        running = author.running
        const result = await work(author.sql).finally(author.end)
        const { rowCount } = await client.query(PUT_OUTCOME, [...attemptOf(request), textOf({ result }), worker])
        if (rowCount !== 1) throw new AlreadyEnded()
        return { result }
      }
      const giveUp = async (client: PoolClient) => {
        if (running.size === 0) return false
        await endStatements(client, () => Promise.allSettled(running))
        return true
      }
      try {
        return await inTurn(() => inTransaction(actions, transaction, giveUp))
      } catch (error) {
        const first = error instanceof AlreadyEnded ? await stored(request) : undefined
        if (first) return first
        throw error
      }
    },
    async progress({ tenant, execution_id: execution, action }) {
      const { rows } = await engine.query<{ progress: string | null }>(
        'SELECT progress FROM refold.action_progress WHERE tenant = $1 AND execution_id = $2 AND action = $3',
        [tenant, execution, action],
      )
      return rows[0]?.progress ?? undefined
    },
    async tellProgress(request, progress) {
      await engine.query(TELL, [...attemptOf(request), progress ?? null])
    },
  }
}

/** `low` is the first offset that the queue's topic still holds. */
export function createWorkerStore(pool: Pool, low: (topic: string, partition: number) => Promise<number>): WorkerStore {
  const readerOf = (topic: string) => `worker.${topic}`
  const move = createCheckpointMover(pool)
  return {
    async checkpoint(topic, partition) {
      const { rows } = await pool.query<{ next_offset: string }>(
        'SELECT next_offset FROM refold.checkpoints WHERE reader = $1 AND partition = $2',
        [readerOf(topic), partition],
      )
      return Math.max(Number(rows[0]?.next_offset ?? 0), await low(topic, partition))
    },
    save: (topic, partition, next) => move(readerOf(topic), partition, next),
  }
}
