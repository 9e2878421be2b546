// Definitions that are refused when an application starts: what its process says, and how it ends.

import path from 'node:path'
import t from 'tap'
import { runRefold, startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

t.setTimeout(180_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'refused-app.ts')

t.test('each start-up check ends the process with an error that says what to mend', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { admin } = installation.database
  const started = await startRefold(t, installation, 'recorder,projector', { app: APP })
  t.equal(await started.stop(), 0)
  const stored = () => admin.query('SELECT projection, generation, version, definition FROM refold.generations ORDER BY 1, 2')
  const before = (await stored()).rows
  const refused = (by: string) =>
    runRefold(['start', '--roles', 'recorder,projector', '--app', APP], { ...installation.env, REFUSED: by, REFOLD_LOG_LEVEL: 'silent' })
  const expected: [string, RegExp][] = [
    ['key', /refold: .*projection tallies, table tally has no primary key: name its columns in key/],
    ['name', /refold: .*projection tallies is in the application twice/],
    ['columns', /refold: .*defined otherwise.*tallies version 1: tables, columns or keys are others.*new version/s],
    ['table', /refold: .*table tally of other_tallies is one of tallies already.*another name/s],
  ]
  for (const [by, said] of expected) {
    const { code, stderr, stdout } = await refused(by)
    t.equal(code, 1, by)
    t.match(stderr + stdout, said, by)
    t.notMatch(stderr, /mistake in Refold/, by)
  }
  t.match((await refused('table')).stderr, /give the table another name/, 'a new version alone would not help there')
  t.strictSame((await stored()).rows, before, 'nothing was made')
  t.equal((await admin.query("SELECT FROM refold.projections WHERE name = 'other_tallies'")).rowCount, 0)
  const again = await startRefold(t, installation, 'recorder,projector', { app: APP })
  t.equal(await again.stop(), 0, 'the one before starts as ever')
})
