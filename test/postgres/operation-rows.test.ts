// What is written beside operations, by the role that logs in: it owns the tables, and row-level security is forced on it too.

import { randomBytes } from 'node:crypto'
import t from 'tap'
import { closeIncidentsOfRetired } from '../../postgres/operation-rows.ts'
import { refuseOffsets } from '../../postgres/persons-offsets.ts'
import { createPgPool, inTransaction } from '../../postgres/pool.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

t.test('incidents that belong to no tenant are opened and closed by an owner that is no superuser', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { url, admin } = await useDatabase(t, databaseUrl)
  const login = `test_owner_${randomBytes(4).toString('hex')}`
  await admin.query(`
    CREATE ROLE ${login} LOGIN PASSWORD 'secret';
    GRANT USAGE ON SCHEMA refold TO ${login};
    ALTER TABLE refold.generations OWNER TO ${login};
    ALTER TABLE refold.incidents OWNER TO ${login};
    INSERT INTO refold.projections (name, version) VALUES ('cases', 1);
    INSERT INTO refold.generations (projection, generation, version, schema_name, definition, state) VALUES ('cases', 2, 1, 'gone', '{}', 'retired');
    INSERT INTO refold.incidents (kind, subject, summary, evidence)
    VALUES ('projection-parked', 'cases@g2/0', '', '{"projection": "cases", "generation": 2}'), ('offset-refused', 'cases@g2', '', '{}')`)
  const as = new URL(url)
  as.username = login
  as.password = 'secret'
  const owner = createPgPool(as.href, { max: 1, name: 'test-owner' })
  t.teardown(async () => {
    await owner.end()
    await admin.query(
      `ALTER TABLE refold.incidents OWNER TO CURRENT_USER; ALTER TABLE refold.generations OWNER TO CURRENT_USER; DROP OWNED BY ${login}; DROP ROLE ${login}`,
    )
  })
  const incidents = async () =>
    (await admin.query('SELECT subject, summary, closed_at IS NOT NULL AS closed FROM refold.incidents ORDER BY subject')).rows
  const refuse = (detail: string) => inTransaction(owner, (client) => refuseOffsets(client, 'cases@g1', detail, { group: 'g' }))
  await refuse('beyond the checkpoint')
  await admin.query("UPDATE refold.incidents SET opened_at = now() - interval '1 hour'")
  await refuse('still beyond it')
  t.strictSame(await incidents(), [
    { subject: 'cases@g1', summary: 'still beyond it', closed: false },
    { subject: 'cases@g2', summary: '', closed: false },
    { subject: 'cases@g2/0', summary: '', closed: false },
  ])
  const { rows } = await admin.query("SELECT subject FROM refold.incidents WHERE opened_at > now() - interval '30 minutes'")
  t.strictSame(rows, [{ subject: 'cases@g1' }], 'another refusal is of its own time')
  const client = await owner.connect()
  await client.query('BEGIN')
  await closeIncidentsOfRetired(client, 'cases')
  await client.query('COMMIT')
  client.release()
  t.match(await incidents(), [{ closed: false }, { closed: true }, { closed: true }])
})
