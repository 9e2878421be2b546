import t from 'tap'
import { migrate, migrations } from '../../postgres/migrate.ts'
import { useDatabase } from '../support/database.ts'
import { runRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

t.test('migrations', async (t) => {
  const addresses = useStack(t, ['postgres', 'kafka', 'registry'])
  if (addresses.databaseUrl === undefined) return

  t.test('all of them run once, in order of their names, whoever else migrates', async (t) => {
    const { admin } = await useDatabase(t, addresses.databaseUrl, { migrated: false })
    const names = (await migrations()).map(({ name }) => name)
    const runs = await Promise.all([migrate(admin), migrate(admin), migrate(admin)])
    t.same(runs.flat().toSorted(), names)
    t.same(await migrate(admin), [])
  })

  t.test('a database that a newer version migrated is left as it is', async (t) => {
    const { admin } = await useDatabase(t, addresses.databaseUrl, { migrated: false })
    const all = await migrations()
    await migrate(admin, [...all, { name: '9999-future.sql', sql: 'CREATE SCHEMA future', digest: 'x' }])
    const refusal = { code: 'database-newer', detail: /9999-future\.sql/, retryable: false }
    await t.rejects(migrate(admin), refusal)
    // Also where something of ours has not run there: a branch that went another way.
    await t.rejects(migrate(admin, [...all, { name: '9998-ours.sql', sql: 'CREATE SCHEMA ours', digest: 'y' }]), refusal)
    const { rows } = await admin.query("SELECT nspname FROM pg_namespace WHERE nspname IN ('future', 'ours')")
    t.same(rows, [{ nspname: 'future' }])
  })

  t.test('a migration that fails leaves nothing half done', async (t) => {
    const { admin } = await useDatabase(t, addresses.databaseUrl)
    const failing = { name: '9998-failing.sql', sql: 'CREATE SCHEMA half; SELECT no_such_column', digest: 'x' }
    await t.rejects(migrate(admin, [...(await migrations()), failing]), { code: 'migration-failed', detail: /9998-failing/ })
    t.same((await admin.query("SELECT nspname FROM pg_namespace WHERE nspname = 'half'")).rows, [])
    t.same(await migrate(admin), [])
  })

  t.test('refold start ends at once on a newer database, and says what to do', async (t) => {
    const installation = await useInstallation(t, addresses, 'token=tenant-a')
    const { admin } = installation.database
    await migrate(admin)
    await admin.query("INSERT INTO public.refold_migrations (name, digest) VALUES ('9999-future.sql', 'x')")
    const { code, stdout, stderr } = await runRefold(['start', '--roles', 'api,recorder'], installation.env)
    t.not(code, 0)
    t.match(`${stdout}${stderr}`, /newer version of Refold.*9999-future\.sql.*Start that version/s)
  })
})
