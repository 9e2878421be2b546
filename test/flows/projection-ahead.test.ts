// Recorder and projector in one process, as `npm start` has them: rows are written while they are recorded, and are those that were recorded.

import path from 'node:path'
import t from 'tap'
import { caseEvent, type Load } from '../support/rebuild-load.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const APP = path.join(import.meta.dirname, '..', 'support', 'projection-app.ts')
const EXECUTIONS = 40
const STATES = ['placed', 'paid', 'packed', 'sent']
const LOAD: Load = { executions: EXECUTIONS, stateOf: (_, events) => STATES[events - 1] ?? '' }

t.test('a projector beside its recorder', { timeout: 120_000 }, async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { admin } = installation.database
  const { rows: named } = await admin.query<{ name: string }>('SELECT current_database() AS name')
  await admin.query(`ALTER DATABASE ${named[0]?.name} SET track_functions = 'pl'`)
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app: APP, env: { PROJECTION_CODE: '1' } })
  const rest = restOf(url, 'token')
  for (const [i] of STATES.entries())
    for (let n = 0; n < EXECUTIONS; n++) {
      const answer = await rest.send([caseEvent(LOAD, n, i + 1)])
      if (answer.status !== 202) throw new Error(answer.text)
    }
  await until(async () => ((await rest.get('/v1/projections/cases')).json() as { lag: number }).lag === 0, { what: 'all to be folded' })
  const { rows } = await admin.query<{ state: string; n: number }>('SELECT state, count(*)::int AS n FROM projections.cases GROUP BY 1')
  t.strictSame(rows, [{ state: 'sent', n: EXECUTIONS }])
  let calls = 0
  await until(
    async () => {
      const found = await admin.query<{ calls: number }>(
        "SELECT calls::int FROM pg_stat_user_functions WHERE schemaname = 'refold' AND funcname = 'await_recorded'",
      )
      calls = found.rows[0]?.calls ?? 0
      return calls > EXECUTIONS
    },
    { what: () => `statements that wait for the recorder, for ${EXECUTIONS * STATES.length} events: ${calls}` },
  )
  t.pass(`${calls} statements waited for the recorder`)
})
