// Answers to offsets that a person committed with Kafka's own tool (roles/persons-offsets.ts hears them).
//
// W1  An answer and the note of what was answered are stored in one transaction: a request is answered once, whoever dies.
// W2  The same offsets are the same request only while they stand in the group since they were answered. The note goes with them, so
//     that a person who sets them again asks again.
// W3  Each request has an answer that a person finds: an operation or an incident. The incident ends with the next request that is
//     taken, with the generation, or a day later (postgres/recorder-incidents.ts).

import type { Pool, PoolClient } from 'pg'
import { seeIncidents } from './operation-rows.ts'
import { inTransaction } from './pool.ts'

export type PersonsOffset = { partition: number; offset: number; checkpoint: number }

/** `reader`: the generation whose group it is, as its checkpoints name it. */
export type PersonsRequest = { group: string; projection: string; reader: string; offsets: readonly PersonsOffset[] }

export type Answer = { kind: 'reset' | 'refused'; detail: string }

const places = (some: readonly PersonsOffset[]) => some.map(({ partition, offset }) => `p${partition}:${offset}`).join(', ')

/** W2. Forgets what stands in the group no longer; gives what stands there and was not answered. */
async function unanswered(client: PoolClient, group: string, offsets: readonly PersonsOffset[]): Promise<readonly PersonsOffset[]> {
  const standing = [group, offsets.map(({ partition }) => partition), offsets.map(({ offset }) => offset)]
  await client.query(
    `DELETE FROM refold.answered_offsets WHERE group_name = $1
       AND (partition, log_offset) NOT IN (SELECT * FROM unnest($2::int[], $3::bigint[]))`,
    standing,
  )
  const { rows } = await client.query<{ partition: number }>(
    `INSERT INTO refold.answered_offsets (group_name, partition, log_offset) SELECT $1, * FROM unnest($2::int[], $3::bigint[])
     ON CONFLICT DO NOTHING RETURNING partition`,
    standing,
  )
  return offsets.filter(({ partition }) => rows.some((row) => row.partition === partition))
}

/** Opens a reset; gives the operation that is open already instead. */
async function openReset(client: PoolClient, projection: string, reason: string): Promise<{ id: string; as: string } | undefined> {
  const { rows } = await client.query<{ id: string; kind: string; state: string }>(
    'SELECT id, kind, state FROM refold.operations WHERE projection = $1 AND ended_at IS NULL FOR UPDATE',
    [projection],
  )
  if (rows[0]) return { id: rows[0].id, as: `${rows[0].kind}, ${rows[0].state}` }
  // One that was opened since fails this, and the offsets are looked at again.
  await client.query("INSERT INTO refold.operations (projection, kind, state, reason) VALUES ($1, 'reset', 'requested', $2)", [
    projection,
    reason,
  ])
  return undefined
}

const addLine = (client: PoolClient, id: string, line: string) =>
  client.query(
    `UPDATE refold.operations SET log = (log::jsonb || jsonb_build_array(jsonb_build_object('at', now(), 'line', $2::text)))::json WHERE id = $1`,
    [id, line],
  )

async function answerBelow(
  client: PoolClient,
  { group, projection }: PersonsRequest,
  below: readonly PersonsOffset[],
): Promise<Answer | undefined> {
  if (below.length === 0) return undefined
  const asked = `group ${group} was reset to ${places(below)} by Kafka's tool`
  const detail = `${asked}; a fold from the middle would be wrong, so it starts at the first event`
  const open = await openReset(client, projection, detail)
  if (!open) return { kind: 'reset', detail }
  await addLine(client, open.id, `${asked}: ignored, for one operation of a projection is open at a time, and this one is`)
  return {
    kind: 'refused',
    detail: `${asked} while operation ${open.id} (${open.as}) is open: ignored; end that first (promote or abort it, or wait), then set the offsets again`,
  }
}

function answerAbove(group: string, above: readonly PersonsOffset[]): Answer | undefined {
  if (above.length === 0) return undefined
  const detail = `group ${group} was set beyond the checkpoint, at ${places(above)}: nothing is skipped, it goes on from its checkpoint`
  return { kind: 'refused', detail }
}

/** Below the checkpoint: a reset. Above, or while an operation is open: refused. W3. */
export const answerOffsets = (pool: Pool, request: PersonsRequest): Promise<readonly Answer[]> =>
  inTransaction(pool, async (client) => {
    const { group, reader, offsets } = request
    const asked = await unanswered(client, group, offsets)
    const below = asked.filter(({ offset, checkpoint }) => offset < checkpoint)
    const above = asked.filter(({ offset, checkpoint }) => offset > checkpoint)
    const answers = [answerAbove(group, above), await answerBelow(client, request, below)].filter((one) => one !== undefined)
    if (answers.some(({ kind }) => kind === 'reset')) await closeRefused(client, request)
    const refused = answers.filter(({ kind }) => kind === 'refused').map(({ detail }) => detail)
    if (refused.length > 0) await refuseOffsets(client, reader, refused.join('. '), { group, offsets: asked })
    return answers
  })

/** Groups of which a note stands. */
export async function notedGroups(pool: Pool): Promise<ReadonlySet<string>> {
  const { rows } = await pool.query<{ group_name: string }>('SELECT DISTINCT group_name FROM refold.answered_offsets')
  return new Set(rows.map(({ group_name: group }) => group))
}

/** W2. The group has none of a person's any more. */
export const forgetAnswered = async (pool: Pool, group: string): Promise<void> =>
  void (await pool.query('DELETE FROM refold.answered_offsets WHERE group_name = $1', [group]))

/** One process at a time looks at a group; false: another is at it. Nobody waits here, for who asks has operations to work off. */
export async function aloneWithGroup(pool: Pool, group: string, work: () => Promise<void>): Promise<boolean> {
  const client = await pool.connect()
  const name = [`refold.offsets.${group}`]
  let broken = true
  try {
    const { rows } = await client.query<{ mine: boolean }>('SELECT pg_try_advisory_lock(hashtext($1)) AS mine', name)
    const mine = rows[0]?.mine === true
    broken = mine
    if (!mine) return false
    try {
      await work()
    } finally {
      await client.query('SELECT pg_advisory_unlock(hashtext($1))', name)
      broken = false
    }
    return true
  } finally {
    client.release(broken)
  }
}

/** What was refused of a projection before one of its requests is done: whoever asked has had what was meant. */
async function closeRefused(client: PoolClient, { projection, reader }: PersonsRequest): Promise<void> {
  await seeIncidents(client)
  await client.query(
    `UPDATE refold.incidents SET closed_at = now()
     WHERE kind = 'offset-refused' AND closed_at IS NULL AND (subject = $1 OR split_part(subject, '@g', 1) = $2)`,
    [reader, projection],
  )
}

/** The incident of a reader's offsets that nothing is done for, opened anew by each. */
export async function refuseOffsets(client: PoolClient, reader: string, detail: string, evidence: object): Promise<void> {
  await seeIncidents(client)
  await client.query(
    `INSERT INTO refold.incidents (kind, subject, summary, evidence) VALUES ('offset-refused', $1, $2, $3)
     ON CONFLICT (kind, subject) WHERE closed_at IS NULL DO UPDATE
       SET summary = excluded.summary, evidence = excluded.evidence, opened_at = now()`,
    [reader, detail, JSON.stringify(evidence)],
  )
}
