// recorder → Postgres → [replay] → REST, index.ts
//
// The state of an execution at any moment of its past: its history folded by the same applyEvent the recorder uses,
// from the newest snapshot that is not later than the moment.
//
// P1  Snapshots change speed, never an answer: one that doesn't fit its digest is passed over.
// P2  A moment names the longest prefix of the history whose times are all at or before it; seq order is never left.
// P3  The cache is keyed by (tenant, execution, seq) of a recorded event, which never changes: it can't be stale.

import { LRUCache } from 'lru-cache'
import { sql } from 'slonik'
import { z } from 'zod'
import { RefoldError } from '../../errors.ts'
import { applyEvent, executionKey, type ExecutionState, initial, isComplete } from '../../workflow/execution.ts'
import { eventIdOf } from '../../workflow/ids.ts'
import { openSnapshot } from '../../workflow/snapshot.ts'
import { type Checkpoints, readWithCheckpoints } from './checkpoints.ts'
import type { ReadPool, Transaction } from './pool.ts'

export type ReplayOptions = {
  /** Begin at the newest usable snapshot (default true). */
  useSnapshots?: boolean
  /** Events read at a time (default 100). */
  batchSize?: number
  /** Up to this seq, or up to this moment in business time (`created_at`). */
  replayUntil?: number | Date
  /** Up to this moment by append time. */
  recordedUntil?: Date
  /** Adds counts, and passes the state cache by. */
  debug?: boolean
}

/** An event as it was read and folded; `payload` is JSON text, times are ms since 1970 UTC. */
export type ReplayedEvent = z.infer<typeof eventRow>

export type Replayed = Omit<ExecutionState, 'mode' | 'openedAt' | 'changedAt' | 'createdUntil'> & {
  /** What was read and folded on top of the snapshot; with `useSnapshots: false` the whole prefix. Empty from the cache. */
  events: readonly ReplayedEvent[]
  isComplete: boolean
  /** The recorder's checkpoints just before the read. */
  checkpoints: Checkpoints
  debug?: { snapshotSeq: number; snapshotsRefused: number; eventsRead: number; batches: number; ms: number }
}

/** Folded states of recorded events, least recently used out. */
export type StateCache = {
  get(key: string): ExecutionState | undefined
  set(key: string, state: ExecutionState): void
  hits: number
  misses: number
}

/** `max` states at most, each for `ttl` ms. */
export function createStateCache({ max, ttl }: { max: number; ttl: number }): StateCache {
  const states = new LRUCache<string, ExecutionState>({ max, ttl })
  const cache: StateCache = {
    hits: 0,
    misses: 0,
    get(key) {
      const state = states.get(key)
      if (state) cache.hits++
      else cache.misses++
      return state
    },
    set: (key, state) => void states.set(key, state),
  }
  return cache
}

const ms = z.string().transform(Number)
const eventRow = z.object({
  seq: ms,
  event_id: z.string(),
  event_name: z.string(),
  event_type: z.string(),
  from_state: z.string(),
  to_state: z.string(),
  user_id: z.string().nullable(),
  payload: z.string().nullable(),
  created_at: ms,
  causation_id: z.string().nullable(),
  correlation_id: z.string().nullable(),
  workflow_name: z.string().nullable(),
  business_key: z.string().nullable(),
  decision: z.number(),
  partition: z.number(),
  log_offset: ms,
  appended_at: ms,
})
const seqRow = z.object({ seq: ms })
const snapshotRow = z.object({ seq: ms, fold_version: z.number(), state: z.string(), digest: z.string() })

const epoch = (column: string) => sql.fragment`(extract(epoch FROM ${sql.identifier([column])}) * 1000)::bigint::text`
const EVENT = sql.fragment`seq::text AS seq, event_id, event_name, event_type, from_state, to_state, user_id, payload,
  ${epoch('created_at')} AS created_at, causation_id, correlation_id, workflow_name, business_key, decision, partition,
  log_offset::text AS log_offset, ${epoch('appended_at')} AS appended_at`

type Bounds = { seq: number; createdUntil: number; recordedUntil: number }

function boundsOf({ replayUntil, recordedUntil }: ReplayOptions): Bounds {
  if (typeof replayUntil === 'number' && (!Number.isSafeInteger(replayUntil) || replayUntil < 0))
    throw new RefoldError('request-invalid', `replayUntil is ${replayUntil}, a seq is 0, 1, 2 …`)
  for (const date of [replayUntil, recordedUntil]) {
    if (date instanceof Date && Number.isNaN(date.getTime()))
      throw new RefoldError('request-invalid', 'a time to replay until is not a date')
  }
  return {
    seq: typeof replayUntil === 'number' ? replayUntil : Number.MAX_SAFE_INTEGER,
    createdUntil: replayUntil instanceof Date ? replayUntil.getTime() : Number.MAX_SAFE_INTEGER,
    recordedUntil: recordedUntil?.getTime() ?? Number.MAX_SAFE_INTEGER,
  }
}

const isBounded = ({ replayUntil, recordedUntil }: ReplayOptions) => replayUntil !== undefined || recordedUntil !== undefined

/** Newest first. The times of a snapshot are the newest of all events in it, so one that fits holds no event too many. */
const snapshots = (transaction: Transaction, tenant: string, executionId: string, bounds: Bounds) =>
  transaction.any(sql.type(snapshotRow)`
    SELECT seq::text AS seq, fold_version, state, digest FROM refold.workflow_snapshots
    WHERE tenant = ${tenant} AND execution_id = ${executionId} AND seq <= ${bounds.seq}
      AND extract(epoch FROM created_until) * 1000 <= ${bounds.createdUntil}
      AND extract(epoch FROM recorded_until) * 1000 <= ${bounds.recordedUntil}
    ORDER BY seq DESC`)

const batch = (transaction: Transaction, tenant: string, executionId: string, after: number, limit: number) =>
  transaction.any(sql.type(eventRow)`
    SELECT ${EVENT} FROM refold.workflow_events e
    WHERE tenant = ${tenant} AND execution_id = ${executionId} AND e.seq > ${after} ORDER BY e.seq LIMIT ${limit}`)

const newestSeq = (transaction: Transaction, tenant: string, executionId: string) =>
  transaction.maybeOneFirst(sql.type(seqRow)`
    SELECT seq::text AS seq FROM refold.workflow_events e WHERE tenant = ${tenant} AND execution_id = ${executionId} ORDER BY e.seq DESC LIMIT 1`)

type Begin = { state: ExecutionState; refused: number }

async function beginning(transaction: Transaction, tenant: string, executionId: string, bounds: Bounds): Promise<Begin> {
  let refused = 0
  for (const { seq, fold_version: foldVersion, state, digest } of await snapshots(transaction, tenant, executionId, bounds)) {
    const opened = openSnapshot({ tenant, executionId, seq, foldVersion, state, digest })
    if (opened) return { state: opened, refused }
    refused++
  }
  return { state: initial(tenant, executionId), refused }
}

function isBeyond(event: ReplayedEvent, bounds: Bounds): boolean {
  return event.seq > bounds.seq || event.created_at > bounds.createdUntil || event.appended_at > bounds.recordedUntil
}

function answer(state: ExecutionState, events: readonly ReplayedEvent[], checkpoints: Checkpoints): Replayed {
  const { mode: _, openedAt: __, changedAt: ___, createdUntil: ____, ...shown } = state
  return { ...shown, events, isComplete: isComplete(state), checkpoints }
}

/**
 * Replays an execution of a tenant; undefined when it has none of its events recorded. With `replayUntil` before its
 * first event the state is the initial one, at seq 0. Reads as the tenant, so row-level security stands behind it.
 *
 * Errors: `database-unavailable`; `request-invalid` for a bound that is none.
 */
export async function replayEvents(
  pool: ReadPool,
  executionId: string,
  tenant: string,
  options: ReplayOptions = {},
  cache?: StateCache,
): Promise<Replayed | undefined> {
  const { useSnapshots = true, batchSize = 100, debug = false } = options
  const bounds = boundsOf(options)
  const cached = isBounded(options) || debug || !useSnapshots ? undefined : cache
  const began = performance.now()
  const { value } = await readWithCheckpoints(pool, tenant, 'all', async (transaction, checkpoints) => {
    const newest = await newestSeq(transaction, tenant, executionId)
    if (newest === null) return undefined
    const known = cached?.get(`${executionKey(tenant, executionId)}\n${newest}`)
    if (known) return answer(known, [], checkpoints)
    const begin = useSnapshots
      ? await beginning(transaction, tenant, executionId, bounds)
      : { state: initial(tenant, executionId), refused: 0 }
    let { state } = begin
    const events: ReplayedEvent[] = []
    let batches = 0
    for (let more = true; more;) {
      const rows = await batch(transaction, tenant, executionId, state.seq, batchSize)
      batches++
      more = rows.length === batchSize
      for (const row of rows) {
        if (isBeyond(row, bounds)) {
          more = false
          break
        }
        state = applyEvent(state, { event: row, seq: row.seq, appendedAt: row.appended_at })
        events.push(row)
      }
    }
    if (!isBounded(options)) cached?.set(`${executionKey(tenant, executionId)}\n${state.seq}`, state)
    const result = answer(state, events, checkpoints)
    if (!debug) return result
    const counts = {
      snapshotSeq: begin.state.seq,
      snapshotsRefused: begin.refused,
      eventsRead: events.length,
      batches,
      ms: performance.now() - began,
    }
    return { ...result, debug: counts }
  })
  return value
}

/** The whole history of an execution, in seq order. */
export async function getByExecutionId(pool: ReadPool, executionId: string, tenant: string): Promise<readonly ReplayedEvent[]> {
  return (await replayEvents(pool, executionId, tenant, { useSnapshots: false, batchSize: 1000 }))?.events ?? []
}

/** The history up to a seq, or up to a moment in business time. */
export async function getByExecutionIdUntil(
  pool: ReadPool,
  executionId: string,
  tenant: string,
  replayUntil: number | Date,
): Promise<readonly ReplayedEvent[]> {
  return (await replayEvents(pool, executionId, tenant, { useSnapshots: false, batchSize: 1000, replayUntil }))?.events ?? []
}

/** The accepted event that was sent under this idempotency key, as place `index` of its request; undefined if there is none. */
export async function getByIdempotencyKey(
  pool: ReadPool,
  executionId: string,
  tenant: string,
  idempotencyKey: string,
  index = 0,
): Promise<ReplayedEvent | undefined> {
  const eventId = eventIdOf(tenant, executionId, idempotencyKey, index)
  const found = await pool.read(tenant, (transaction) =>
    transaction.maybeOne(sql.type(eventRow)`
      SELECT ${EVENT} FROM refold.workflow_events e
      WHERE tenant = ${tenant} AND execution_id = ${executionId} AND event_id = ${eventId}`),
  )
  return found ?? undefined
}
