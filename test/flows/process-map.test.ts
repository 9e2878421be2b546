// The example's process map of the permit log, against a map made of the same file without Refold.

import path from 'node:path'
import t from 'tap'
import { dataFile, MAP_FILE } from '../../examples/permit-log/data.ts'
import { type ExpectedCase, foldPermitLog } from '../examples/fold.ts'
import { runRefold, startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'process-map-app.ts')

type Step = { times: number; seconds: number }

/** `activity → next` → how often, and how many seconds in all. */
function mapOf(cases: Iterable<ExpectedCase>): Map<string, Step> {
  const steps = new Map<string, Step>()
  for (const { events } of cases)
    for (const [i, { to_state: next, created_at: at }] of events.entries()) {
      const before = events[i - 1]
      if (!before) continue
      const name = `${before.to_state} → ${next}`
      const { times, seconds } = steps.get(name) ?? { times: 0, seconds: 0 }
      steps.set(name, { times: times + 1, seconds: seconds + (Date.parse(at) - Date.parse(before.created_at)) / 1000 })
    }
  return steps
}

t.test('which activity follows which, how often and how long after, as the file has it', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { admin } = installation.database
  // Cases that go on over the ends of batches: what an activity follows is then read from the table.
  Object.assign(installation.env, { REFOLD_PROJECTOR_BATCH: '50' })
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app: APP })
  const rest = restOf(url, 'token')
  const file = (await dataFile(process.env)).path
  const env = { ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token' }
  const imported = await runRefold(['import', file, '--map', MAP_FILE, '--refused', `${t.testdirName}/refused`, '--json'], env)
  t.equal(imported.code, 0, imported.stderr)
  await until(async () => ((await rest.get('/v1/projections/process_map')).json() as { lag: number }).lag === 0, {
    within: 60_000,
    every: 100,
    what: 'everything to be folded',
  })

  const cases = foldPermitLog(file)
  const expected = mapOf(cases.values())
  const { rows } = await admin.query<{ tenant: string; activity: string; next_activity: string; times: string; seconds: number }>(
    'SELECT tenant, activity, next_activity, times, seconds FROM projections.process_map',
  )
  t.ok(rows.every(({ tenant }) => tenant === 'tenant'))
  const found = new Map(rows.map((row) => [`${row.activity} → ${row.next_activity}`, row]))
  t.equal(found.size, rows.length, 'each step once, of all partitions together')
  const often = (steps: ReadonlyMap<string, { times: string | number }>) =>
    [...steps].map(([name, { times }]) => `${name}: ${times}`).toSorted()
  t.strictSame(often(found), often(expected))
  const wrong = [...expected].filter(([name, { seconds }]) => Math.abs(Number(found.get(name)?.seconds) - seconds) > 0.01)
  t.strictSame(wrong, [], 'the times between them')
  t.ok([...expected.values()].some(({ seconds }) => seconds > 3600))

  const last = await admin.query<{ n: string; right: string }>(
    `SELECT count(*) AS n, count(*) FILTER (WHERE m.activity = x.current_state) AS right
     FROM projections.process_map_last m LEFT JOIN refold.workflow_executions x ON x.execution_id = m.execution`,
  )
  t.match(last.rows, [{ n: String(cases.size), right: String(cases.size) }], 'each case stands at its last activity')
  const [busiest] = [...expected].toSorted(([, a], [, b]) => b.times - a.times)
  const [activity = ''] = busiest![0].split(' → ')
  const read = (await rest.get(`/v1/projections/process_map/rows?activity=${encodeURIComponent(activity)}&limit=1000`)).json() as {
    rows: object[]
  }
  t.equal(read.rows.length, [...expected.keys()].filter((name) => name.startsWith(`${activity} → `)).length, 'and over REST')
})
