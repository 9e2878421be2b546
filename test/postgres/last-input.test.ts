// Heads know their newest input (decision 0015): what the recorder writes, and what a database from before is given.

import fc from 'fast-check'
import t from 'tap'
import { migrate } from '../../postgres/migrate.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { accept, BLANK_HEAD, type Head } from '../../workflow/accept.ts'
import { contentOf } from '../../workflow/content.ts'
import { classify } from '../../workflow/events.ts'
import { useDatabase } from '../support/database.ts'
import { TENANT } from '../support/events.ts'
import { type Entry, randomLogOf } from '../support/random-log.ts'
import { recordLog } from '../support/recording.ts'
import { useStack } from '../support/stack.ts'

/** As a reader of the log judges it. */
function headOf(log: readonly Entry[]): Head {
  const contents = new Map<string, string>()
  let head: Head = BLANK_HEAD
  for (const { event, appendedAt } of log) {
    const classified = classify(event)
    if ('fault' in classified) continue
    const verdict = accept(classified, head, contents.get(event.event_id), appendedAt)
    if (verdict.verdict !== 'accepted') continue
    contents.set(event.event_id, contentOf(event))
    head = verdict.head
  }
  return head
}

const HEADS = "SELECT phase, encode(last_input, 'hex') AS input FROM refold.execution_heads"
const BEFORE = "ALTER TABLE refold.execution_heads DROP COLUMN last_input; DELETE FROM public.refold_migrations WHERE name LIKE '0018%'"

t.test('the newest input', async (t) => {
  const stack = useStack(t, ['postgres'])
  if (!stack?.databaseUrl) return
  const database = await useDatabase(t, stack.databaseUrl)
  const { admin } = database

  t.test('is what a reader of the log takes it for, as recorded and as migrated, for any log cut anyhow', async (t) => {
    const phases = new Set<string>()
    const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(randomLogOf(0, 40), cuts, async (log, sizes) => {
        await recordLog(database, log, sizes)
        const head = headOf(log)
        const wanted = head.seq === 0 ? [] : [{ phase: head.phase, input: head.input }]
        t.strictSame((await admin.query(HEADS)).rows, wanted)
        await admin.query(BEFORE)
        await migrate(admin)
        t.strictSame((await admin.query(HEADS)).rows, wanted)
        phases.add(head.phase)
      }),
      { numRuns: 60 },
    )
    t.strictSame([...phases].toSorted(), ['driven', 'ended', 'folded'])
  })

  t.test('is found by an owner of the tables who is held by row-level security', async (t) => {
    const owner = `owner_${new URL(database.url).pathname.slice(1)}`
    await admin.query(`INSERT INTO refold.execution_heads (tenant, execution_id, partition, seq, phase, decision, next_chain, open_timers, last_input)
      VALUES ('${TENANT}', gen_random_uuid(), 0, 1, 'folded', 0, '', '{}', '')`)
    await admin.query(BEFORE)
    await admin.query(`CREATE ROLE ${owner} LOGIN PASSWORD 'x'; GRANT refold_engine, refold_api TO ${owner}`)
    await admin.query(
      `GRANT ALL ON public.refold_migrations TO ${owner}; GRANT ALL ON SCHEMA refold TO ${owner}; GRANT CREATE ON SCHEMA public TO ${owner}`,
    )
    await admin.query(`ALTER TABLE refold.execution_heads OWNER TO ${owner}; ALTER TABLE public.refold_migrations OWNER TO ${owner}`)
    const url = new URL(database.url)
    url.username = owner
    url.password = 'x'
    const pool = createPgPool(url.href, { max: 1, name: 'test-owner' })
    t.teardown(async () => {
      await pool.end()
      await admin.query(`REASSIGN OWNED BY ${owner} TO CURRENT_USER; DROP OWNED BY ${owner}; DROP ROLE ${owner}`)
    })
    t.strictSame(await migrate(pool), ['0018-last-input.sql'])
    t.match((await admin.query(HEADS)).rows.at(-1), { input: '' })
  })
})
