// accepted events → runtime → [Postgres]: its checkpoints, histories, incidents
//
// The runtime's port (RuntimeStore in consumers/runtime-port.ts). Everything is read up to an offset that the recorder has passed.

import type { Pool } from 'pg'
import { createCombiner } from '../combine.ts'
import type { History, Identity, Parked, PastEvent } from '../consumers/driven.ts'
import type { RuntimeStore } from '../consumers/runtime-port.ts'
import type { Timer } from '../consumers/timers.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { executionKey } from '../workflow/execution.ts'
import { startIdOf } from '../workflow/ids.ts'
import { createCheckpointMover } from './checkpoints.ts'
import { READER } from './recorder-store.ts'

export type RuntimeStoreOptions = {
  deployment: string
  /** Registered versions: name, line feed, version. */
  workflows: readonly string[]
}

const STARTED = `
  SELECT e.tenant, e.execution_id, wanted.before
  FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[]) AS wanted (tenant, execution_id, event_id, before)
  JOIN refold.workflow_events e USING (tenant, execution_id, event_id) WHERE e.log_offset < wanted.before`

const HISTORIES = `
  SELECT wanted.before, e.tenant, e.execution_id, e.seq, e.event_id, e.event_name, e.event_type, e.from_state, e.to_state, e.user_id, e.payload,
         (extract(epoch FROM e.created_at) * 1000)::bigint AS created_at, e.causation_id, e.correlation_id, e.workflow_name,
         e.business_key, e.decision, encode(e.content, 'hex') AS content, (extract(epoch FROM e.appended_at) * 1000)::bigint AS appended_at
  FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS wanted (tenant, execution_id, before)
  JOIN refold.workflow_events e USING (tenant, execution_id) WHERE e.log_offset < wanted.before
  ORDER BY e.tenant, e.execution_id, wanted.before, e.seq`

const OPEN = `
  SELECT tenant, execution_id FROM refold.workflow_executions
  WHERE partition = $1 AND status IN ('running', 'paused') AND workflow_name || E'\\n' || workflow_version = ANY ($2)`

const PARKED = `
  SELECT tenant, execution_id FROM refold.incidents
  WHERE partition = $1 AND closed_at IS NULL AND execution_id IS NOT NULL
    AND ((kind IN ('diverged', 'history-full') AND evidence ->> 'deployment' = $2)
      OR (kind = 'not-registered' AND (evidence ->> 'workflow') || E'\\n' || (evidence ->> 'version') = ANY ($3)))`

const WAITING = `
  SELECT DISTINCT a.tenant, a.execution_id FROM refold.workflow_actions a JOIN refold.workflow_executions e USING (tenant, execution_id)
  WHERE a.partition = $1 AND a.ended_at IS NULL AND a.status = 'running' AND a.requested_at < now() - $2 * interval '1 millisecond'
    AND e.workflow_name || E'\\n' || e.workflow_version = ANY ($3) LIMIT 1000`

const TIMERS = `
  SELECT h.tenant, h.execution_id, t.key::int AS timer, t.value::bigint AS fire_at
  FROM refold.execution_heads h, json_each_text(h.open_timers) t
  WHERE h.partition = $1 AND h.open_timers::text <> '{}' AND h.phase = 'driven'`

const PARK = `
  INSERT INTO refold.incidents (kind, subject, tenant, execution_id, partition, summary, evidence)
  VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET summary = excluded.summary, evidence = excluded.evidence`

type EventRow = Omit<WorkflowEvent, 'created_at' | 'decision_chain' | 'decision_seq' | 'decision_input'> & {
  seq: string
  created_at: string
  content: string
  appended_at: string
}

/** Below which offset its history is wanted; whether it is known to have been started. */
type Asked = Identity & { before: number; isStarted: boolean }

const questionOf = ({ tenant, executionId, before }: Identity & { before: number }) => `${before} ${executionKey(tenant, executionId)}`

type IdentityRow = { tenant: string; execution_id: string }

const identityOf = ({ tenant, execution_id: executionId }: IdentityRow): Identity => ({ tenant, executionId })

const pastEvent = ({ seq, created_at: createdAt, content, appended_at: appendedAt, ...event }: EventRow): PastEvent => ({
  event: { ...event, created_at: Number(createdAt), decision_chain: '', decision_seq: 0, decision_input: '' },
  seq: Number(seq),
  appendedAt: Number(appendedAt),
  content,
})

function summaryOf(parked: Parked): string {
  switch (parked.kind) {
    case 'diverged':
      return `step ${parked.divergence.step}: ${parked.divergence.reason}`
    case 'not-registered':
      return `no deployment that runs registers ${parked.workflow} version ${parked.version}`
    case 'history-full':
      return `its history has ${parked.events} events, the most that are driven`
    default:
      return parked satisfies never
  }
}

/** `pool` connects as refold_engine. */
export function createRuntimeStore(pool: Pool, { deployment, workflows }: RuntimeStoreOptions): RuntimeStore {
  const reader = `runtime.${deployment}`
  const move = createCheckpointMover(pool)

  async function offsetOf(name: string, partition: number): Promise<number | undefined> {
    const { rows } = await pool.query<{ next_offset: string }>({
      name: 'runtime-checkpoint',
      text: 'SELECT next_offset FROM refold.checkpoints WHERE reader = $1 AND partition = $2',
      values: [name, partition],
    })
    return rows[0] === undefined ? undefined : Number(rows[0].next_offset)
  }

  async function identities(text: string, values: readonly unknown[]): Promise<readonly Identity[]> {
    const { rows } = await pool.query<IdentityRow>(text, [...values])
    return rows.map(identityOf)
  }

  async function started(wanted: readonly Asked[]): Promise<ReadonlySet<string>> {
    const { rows } = await pool.query<IdentityRow & { before: string }>({
      name: 'runtime-started',
      text: STARTED,
      values: [
        wanted.map(({ tenant }) => tenant),
        wanted.map(({ executionId }) => executionId),
        wanted.map(({ tenant, executionId }) => startIdOf(tenant, executionId)),
        wanted.map(({ before }) => before),
      ],
    })
    return new Set(rows.map((row) => questionOf({ ...identityOf(row), before: Number(row.before) })))
  }

  async function read(asked: readonly Asked[]): Promise<ReadonlyMap<string, History>> {
    const doubtful = asked.filter(({ isStarted }) => !isStarted)
    const known = doubtful.length > 0 ? await started(doubtful) : new Set<string>()
    const driven = new Map(asked.filter((one) => one.isStarted || known.has(questionOf(one))).map((one) => [questionOf(one), one]))
    const found = new Map(
      [...driven].map(([question, { tenant, executionId }]) => [question, { tenant, executionId, events: [] as PastEvent[] }]),
    )
    if (driven.size === 0) return found
    const all = [...driven.values()]
    const { rows } = await pool.query<EventRow & { before: string }>({
      name: 'runtime-histories',
      text: HISTORIES,
      values: [all.map(({ tenant }) => tenant), all.map(({ executionId }) => executionId), all.map(({ before }) => before)],
    })
    for (const { before, ...row } of rows)
      found.get(questionOf({ ...identityOf(row), before: Number(before) }))?.events.push(pastEvent(row))
    return found
  }

  // Partitions ask for themselves, and often at the same time; one that is left and one that is taken up again may ask for the
  // same execution, up to different offsets.
  const histories = createCombiner<readonly Asked[], readonly History[]>(
    async (groups) => {
      const found = await read(groups.flat())
      return groups.map((asked) => asked.flatMap((one) => found.get(questionOf(one)) ?? []))
    },
    () => undefined,
  )

  return {
    async checkpoint(partition) {
      const known = await offsetOf(reader, partition)
      if (known !== undefined) return { next: known, isNew: false }
      return { next: (await offsetOf(READER, partition)) ?? 0, isNew: true }
    },
    save: (partition, next) => move(reader, partition, next),
    recorded: async (partition) => (await offsetOf(READER, partition)) ?? 0,
    histories: (wanted, before, always) =>
      histories(wanted.map((one) => ({ ...one, before, isStarted: always.has(executionKey(one.tenant, one.executionId)) }))),
    open: (partition) => identities(OPEN, [partition, workflows]),
    parked: (partition) => identities(PARKED, [partition, deployment, workflows]),
    waiting: (partition, ms) => identities(WAITING, [partition, ms, workflows]),
    async openTimers(partition) {
      const { rows } = await pool.query<IdentityRow & { timer: number; fire_at: string }>(TIMERS, [partition])
      return rows.map((row): Timer => ({ ...identityOf(row), partition, timer: row.timer, fireAt: Number(row.fire_at) }))
    },
    async park({ tenant, executionId, partition, started: start }, parked) {
      const evidence = { deployment, workflow: start?.workflow_name ?? undefined, ...parked }
      const subject = executionKey(tenant, executionId)
      await pool.query(PARK, [parked.kind, subject, tenant, executionId, partition, summaryOf(parked), JSON.stringify(evidence)])
    },
    async mended({ tenant, executionId }) {
      await pool.query('UPDATE refold.incidents SET closed_at = now() WHERE subject = $1 AND closed_at IS NULL', [
        executionKey(tenant, executionId),
      ])
    },
    async isDrivenElsewhere(workflow, version) {
      const { rows } = await pool.query(
        `SELECT FROM refold.processes
         WHERE role = 'runtime' AND deployment <> $1 AND $2 = ANY (workflows) AND seen_at > now() - interval '30 seconds' LIMIT 1`,
        [deployment, `${workflow}\n${version}`],
      )
      return rows.length > 0
    },
  }
}
