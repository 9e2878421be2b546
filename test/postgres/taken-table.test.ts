// Two projections that want a table of one name, at start-up, on a real Postgres.

import t from 'tap'
import { createProjectionControl } from '../../postgres/projection-control.ts'
import { defineProjection } from '../../projections/define.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

const handled = (name: string, table: string, version = 1) =>
  defineProjection({
    name,
    version,
    tables: { [table]: { columns: { id: 'text' }, key: ['id'] } },
    handle: () => Promise.resolve(),
  })

t.test('a table whose name another projection has is refused, with advice that helps', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  const control = createProjectionControl(admin, [], 1)
  await control.sync(handled('orders', 'lines'))
  const refused = {
    code: 'projection-name-taken',
    message: /table lines of invoices is one of orders already\..* give the table another name/,
  }
  await t.rejects(control.sync(handled('invoices', 'lines')), refused)
  // What the error said before does not help.
  await t.rejects(control.sync(handled('invoices', 'lines', 2)), refused)
  await control.sync(handled('invoices', 'invoice_lines'))
  await t.rejects(control.sync(handled('invoices', 'lines', 2)), refused, 'a later version as well')
})
