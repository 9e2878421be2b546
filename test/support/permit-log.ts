// Comparing what Refold made of a permit log with the independent fold, over REST.

import type { Test } from 'tap'
import { z } from 'zod'
import { createClient } from '../../cli/client.ts'
import type { ExpectedCase, ExpectedEvent } from '../examples/fold.ts'
import type { TestDatabase } from './database.ts'

type Api = { url: string; token: string }

const page = z.object({
  executions: z.array(
    z.object({
      executionId: z.string(),
      key: z.string(),
      workflow: z.string(),
      currentState: z.string(),
      status: z.string(),
      data: z.unknown(),
      lastSeq: z.number(),
    }),
  ),
  nextCursor: z.string().nullable(),
})

const history = z.object({
  events: z.array(
    // Other fields (ids, positions, append times) are not of the file: cut off here.
    z.object({
      seq: z.number(),
      event_name: z.string(),
      from_state: z.string(),
      to_state: z.string(),
      user_id: z.string(),
      created_at: z.string(),
      payload: z.unknown(),
    }),
  ),
  next: z.number().nullable(),
})

/** Histories asked for at a time. */
const AT_ONCE = 16

type Found = z.infer<typeof page>['executions'][number]

async function allExecutions(api: Api): Promise<Found[]> {
  const client = createClient(api)
  const all: Found[] = []
  let cursor: string | undefined
  do {
    const { executions, nextCursor } = await client.get('v1/executions', page, { limit: 500, cursor })
    all.push(...executions)
    cursor = nextCursor ?? undefined
  } while (cursor !== undefined)
  return all
}

const inUtc = (event: Pick<ExpectedEvent, 'created_at'>) => ({ ...event, created_at: new Date(event.created_at).toISOString() })

/** Every currentState, data and history of the tenant equals the fold's; nothing is there that the fold lacks. */
export async function holdsFold(t: Test, api: Api, expected: ReadonlyMap<string, ExpectedCase>): Promise<void> {
  const client = createClient(api)
  const found = await allExecutions(api)
  t.equal(found.length, expected.size, 'as many executions as cases')
  t.same(new Set(found.map(({ key }) => key)), new Set(expected.keys()), 'the same keys')
  let events = 0
  const wrong: unknown[] = []
  const compare = async ({ executionId, key, workflow, status, currentState, data, lastSeq }: Found) => {
    const wanted = expected.get(key)
    const got = await client.get(`v1/executions/${executionId}/events`, history, { limit: 1000 })
    events += got.events.length
    const made = { workflow, status, currentState, data, lastSeq, events: got.events.map(inUtc) }
    const { currentState: state, data: merged, events: rows } = wanted ?? {}
    const asked = { workflow: 'permit', status: 'running', currentState: state, data: merged, lastSeq: rows?.length, events: rows }
    if (!same(made, asked)) wrong.push({ key, made, asked })
  }
  for (let i = 0; i < found.length; i += AT_ONCE) await Promise.all(found.slice(i, i + AT_ONCE).map(compare))
  t.same(wrong.slice(0, 3), [], 'state, data and history of every execution')
  t.equal(
    events,
    [...expected.values()].reduce((sum, one) => sum + one.events.length, 0),
    'as many events as rows',
  )
}

/** Deep equality by JSON, keys in any order. */
const same = (a: unknown, b: unknown) => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  )
}

const TABLES = ['refold.workflow_events', 'refold.execution_heads', 'refold.workflow_executions']

/** Count and digest of the rows that must not change when nothing new comes. */
export async function digestOf({ admin }: TestDatabase): Promise<Record<string, { rows: number; digest: string }>> {
  const digests: Record<string, { rows: number; digest: string }> = {}
  for (const table of TABLES) {
    const { rows } = await admin.query<{ rows: string; digest: string }>(
      `SELECT count(*) AS rows, md5(string_agg(one, E'\\n' ORDER BY one)) AS digest FROM (SELECT row_to_json(t)::text AS one FROM ${table} t) AS lines`,
    )
    digests[table] = { rows: Number(rows[0]?.rows), digest: rows[0]?.digest ?? '' }
  }
  return digests
}

/** How often each verdict other than accepted was given. */
export async function verdictsOf({ admin }: TestDatabase): Promise<Record<string, number>> {
  const { rows } = await admin.query<{ verdict: string; count: string }>(
    'SELECT verdict, count(*) FROM refold.event_verdicts GROUP BY verdict',
  )
  return Object.fromEntries(rows.map(({ verdict, count }) => [verdict, Number(count)]))
}
