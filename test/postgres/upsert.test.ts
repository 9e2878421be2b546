import fc from 'fast-check'
import t from 'tap'
import { arrayOf } from '../../postgres/upsert.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

t.test('an array is read by Postgres as it was given', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  const text = fc.string({ unit: 'grapheme' }).filter((one) => !one.includes('\0') && one.isWellFormed())
  const same = async (type: string, values: readonly (string | number | null)[]) => {
    const { rows } = await admin.query<{ values: unknown[] }>(`SELECT $1::${type}[] AS values`, [arrayOf(values, (value) => value)])
    t.strictSame(rows[0]?.values, values)
  }
  await same('text', ['', ' ', 'NULL', 'null', '"', '\\', '\\"', '{', '}', '{}', ',', 'a,b', "'", '\t\n\r', '\\x00', 'ä€😀', null])
  await same('int', [0, -1, 2_147_483_647, null])
  await fc.assert(
    fc.asyncProperty(fc.array(fc.option(text, { freq: 10 })), (values) => same('text', values)),
    { numRuns: 50 },
  )
})
