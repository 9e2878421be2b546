// produce → log → accept → recorder → [incidents of quarantined records]
//
// A poison record has a verdict, and an incident that says so: one for each partition, tenant and reason, so that a producer
// gone wrong makes one and not a million, and partitions don't wait for each other. It closes a day after its newest record.

import type { ClientBase, Pool } from 'pg'
import type { VerdictRow } from '../consumers/recorder-fold.ts'
import { formatPosition } from '../workflow/position.ts'
import { timestamp } from './copy.ts'

type Group = {
  tenant: string | null
  reason: string
  partition: number
  records: number
  first: string
  newest: string
  newestAt: number
  detail: string
}

const PUT = `
  INSERT INTO refold.incidents AS i (kind, subject, tenant, partition, summary, evidence)
  SELECT 'quarantined', partition || ' ' || reason || ' ' || coalesce(tenant, ''), tenant, partition,
    'records quarantined as ' || reason || ' in partition ' || partition || ', the newest at ' || newest,
    json_build_object('reason', reason, 'records', records, 'first', first, 'newest', newest, 'newestAt', newest_at, 'detail', detail)
  FROM unnest($1::text[], $2::int[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS q (tenant, partition, reason, records, first, newest, newest_at, detail)
  ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE SET summary = excluded.summary, evidence = json_build_object(
    'reason', excluded.evidence -> 'reason', 'first', i.evidence -> 'first', 'newest', excluded.evidence -> 'newest',
    'records', (i.evidence ->> 'records')::bigint + (excluded.evidence ->> 'records')::bigint,
    'newestAt', excluded.evidence -> 'newestAt', 'detail', excluded.evidence -> 'detail')`

/** Characters of a detail that an incident shows. */
const SHOWN = 300

function groupsOf(verdicts: readonly VerdictRow[], tenantOf: (event: VerdictRow['event']) => string | null): Group[] {
  const groups = new Map<string, Group>()
  for (const { verdict, record, event } of verdicts) {
    if (verdict.verdict !== 'quarantined') continue
    const [tenant, { reason }] = [tenantOf(event), verdict]
    const position = formatPosition({ partition: record.partition, offset: record.offset })
    const detail = verdict.detail.slice(0, SHOWN).replaceAll('\0', '\ufffd').toWellFormed()
    const key = `${reason}\n${tenant ?? ''}`
    const { records, first } = groups.get(key) ?? { records: 0, first: position }
    groups.set(key, {
      tenant,
      reason,
      partition: record.partition,
      records: records + 1,
      first,
      newest: position,
      newestAt: record.appendedAt,
      detail,
    })
  }
  return [...groups.values()]
}

/** Opens or renews the incidents of a batch; nothing is asked where nothing was quarantined. */
export async function putIncidents(
  client: ClientBase,
  verdicts: readonly VerdictRow[],
  tenantOf: (event: VerdictRow['event']) => string | null,
): Promise<void> {
  const groups = groupsOf(verdicts, tenantOf)
  if (groups.length === 0) return
  const column = <T>(pick: (group: Group) => T) => groups.map(pick)
  await client.query({
    name: 'recorder-put-incidents',
    text: PUT,
    values: [
      column(({ tenant }) => tenant),
      column(({ partition }) => partition),
      column(({ reason }) => reason),
      column(({ records }) => records),
      column(({ first }) => first),
      column(({ newest }) => newest),
      column(({ newestAt }) => timestamp(newestAt)),
      column(({ detail }) => detail),
    ],
  })
}

/**
 * Closes those whose newest record is a day old (whoever looks after them has had a day, and new ones open another), those of offsets
 * refused a day ago (nothing is done for them), and those of executions that have ended, by whichever way: nobody can do anything
 * about them. Resolves to how many.
 */
export async function closeOldIncidents(pool: Pool): Promise<number> {
  const old = await pool.query(
    `UPDATE refold.incidents SET closed_at = now()
     WHERE kind = 'quarantined' AND closed_at IS NULL AND (evidence ->> 'newestAt')::timestamptz < now() - interval '1 day'`,
  )
  const refused = await pool.query(
    `UPDATE refold.incidents SET closed_at = now()
     WHERE kind = 'offset-refused' AND closed_at IS NULL AND opened_at < now() - interval '1 day'`,
  )
  const ended = await pool.query(
    `UPDATE refold.incidents i SET closed_at = now() FROM refold.execution_heads h
     WHERE i.closed_at IS NULL AND i.execution_id IS NOT NULL AND h.tenant = i.tenant AND h.execution_id = i.execution_id AND h.phase = 'ended'`,
  )
  return (old.rowCount ?? 0) + (refused.rowCount ?? 0) + (ended.rowCount ?? 0)
}
