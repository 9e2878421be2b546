// What a diagnosis of an execution rests on, beside its history: incidents, running processes, checkpoints, progress.

import { sql } from 'slonik'
import { z } from 'zod'
import type { ReadPool } from './pool.ts'
import { timeText } from './time.ts'

const incidentRow = z.object({
  id: z.string(),
  kind: z.string(),
  execution_id: z.string().nullable(),
  partition: z.number().nullable(),
  summary: z.string(),
  evidence: z.string().transform((text) => JSON.parse(text) as Record<string, unknown>),
  opened_at: z.string(),
  closed_at: z.string().nullable(),
})
export type IncidentRow = z.infer<typeof incidentRow>

const processRow = z.object({
  id: z.string(),
  role: z.string(),
  deployment: z.string().nullable(),
  workflows: z.array(z.string()),
  actions: z.array(z.string()),
  queues: z.array(z.string()),
  partitions: z.array(z.number()),
  seen_at: z.string(),
})
export type ProcessRow = z.infer<typeof processRow>

const checkpointRow = z.object({ reader: z.string(), next: z.string().transform(Number), moved_at: z.string(), idle_ms: z.number() })
export type CheckpointRow = z.infer<typeof checkpointRow>

const progressRow = z.object({ action: z.number(), attempt: z.number(), progress: z.string().nullable(), told_at: z.string() })
export type ActionProgressRow = z.infer<typeof progressRow>

export type Standing = {
  incidents: readonly IncidentRow[]
  /** Of the last 30 s. */
  processes: readonly ProcessRow[]
  /** Of the recorder and the runtimes, on the execution's partition. */
  checkpoints: readonly CheckpointRow[]
  progress: readonly ActionProgressRow[]
}

const INCIDENT = sql.fragment`
  id::text AS id, kind, execution_id::text AS execution_id, partition, summary, evidence::text AS evidence, ${timeText('opened_at')}, ${timeText('closed_at')}`

const PROCESSES = sql.type(processRow)`
  SELECT id, role, deployment, workflows, actions, queues, partitions, ${timeText('seen_at')}
  FROM refold.processes WHERE refold.processes.seen_at > now() - interval '30 seconds' ORDER BY id`

export const readProcesses = (pool: ReadPool, tenant: string): Promise<readonly ProcessRow[]> =>
  pool.read(tenant, (transaction) => transaction.any(PROCESSES))

export function readStanding(pool: ReadPool, tenant: string, executionId: string, partition: number): Promise<Standing> {
  return pool.read(tenant, async (transaction) => ({
    incidents: await transaction.any(sql.type(incidentRow)`
      SELECT ${INCIDENT} FROM refold.incidents i
      WHERE tenant = ${tenant} AND execution_id = ${executionId} AND i.closed_at IS NULL ORDER BY i.opened_at`),
    processes: await transaction.any(PROCESSES),
    checkpoints: await transaction.any(sql.type(checkpointRow)`
      SELECT reader, next_offset::text AS next, ${timeText('moved_at')}, (extract(epoch FROM now() - c.moved_at) * 1000)::float8 AS idle_ms
      FROM refold.checkpoints c WHERE partition = ${partition} AND (reader = 'recorder' OR reader LIKE 'runtime.%')`),
    progress: await transaction.any(sql.type(progressRow)`
      SELECT action, attempt, progress, ${timeText('told_at')} FROM refold.action_progress WHERE tenant = ${tenant} AND execution_id = ${executionId}`),
  }))
}

export type IncidentFilter = { state: 'open' | 'closed' | 'all'; limit: number; after?: { openedAt: string; id: string } | undefined }

/** Newest first; with `nobodys` also those that belong to no tenant. */
export function readIncidents(
  pool: ReadPool,
  tenant: string,
  nobodys: boolean,
  { state, limit, after }: IncidentFilter,
): Promise<readonly IncidentRow[]> {
  const conditions = [nobodys ? sql.fragment`(tenant = ${tenant} OR tenant IS NULL)` : sql.fragment`tenant = ${tenant}`]
  if (state !== 'all') conditions.push(state === 'open' ? sql.fragment`i.closed_at IS NULL` : sql.fragment`i.closed_at IS NOT NULL`)
  if (after)
    conditions.push(sql.fragment`(date_trunc('milliseconds', i.opened_at), i.id) < (${after.openedAt}::timestamptz, ${after.id}::uuid)`)
  return pool.read(
    tenant,
    (transaction) =>
      transaction.any(sql.type(incidentRow)`
      SELECT ${INCIDENT} FROM refold.incidents i WHERE ${sql.join(conditions, sql.fragment` AND `)}
      ORDER BY date_trunc('milliseconds', i.opened_at) DESC, i.id DESC LIMIT ${limit}`),
    { operator: nobodys },
  )
}
