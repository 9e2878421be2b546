// Which processes run, what they drive, run and fold: told every few seconds, for diagnoses and for other deployments.

import type { Pool } from 'pg'

export type ProcessFacts = {
  id: string
  role: 'runtime' | 'worker' | 'projector'
  deployment: string | null
  /** name, line feed, version. */
  workflows: readonly string[]
  actions: readonly string[]
  /** '' is the queue without a name. */
  queues: readonly string[]
  partitions: readonly number[]
  /** projection@g<n>. */
  generations: readonly string[]
}

const TELL = `
  INSERT INTO refold.processes (id, role, deployment, workflows, actions, queues, partitions, generations)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
  ON CONFLICT (id) DO UPDATE SET partitions = excluded.partitions, generations = excluded.generations, seen_at = now()`

export async function tellProcess(
  pool: Pool,
  { id, role, deployment, workflows, actions, queues, partitions, generations }: ProcessFacts,
): Promise<void> {
  await pool.query(TELL, [id, role, deployment, workflows, actions, queues, partitions, generations])
  await pool.query("DELETE FROM refold.processes WHERE seen_at < now() - interval '1 hour'")
}

export async function forgetProcess(pool: Pool, id: string): Promise<void> {
  await pool.query('DELETE FROM refold.processes WHERE id = $1', [id])
}
