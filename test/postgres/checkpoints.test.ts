// Checkpoints that move at the same time share a statement.

import t from 'tap'
import { createCheckpointMover } from '../../postgres/checkpoints.ts'
import { createPgPool } from '../../postgres/pool.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

t.test('they move forward only, each to the highest', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { url, admin } = await useDatabase(t, databaseUrl)
  const pool = createPgPool(url, { max: 2, name: 'test-checkpoints', role: 'refold_engine', byKey: true })
  t.teardown(() => pool.end())
  const move = createCheckpointMover(pool)
  await Promise.all([move('a', 1, 5), move('a', 2, 7), move('a', 1, 6), move('b', 1, 1)])
  await Promise.all([move('a', 1, 4), move('a', 2, 8)])
  const { rows } = await admin.query<{ place: string }>(
    `SELECT reader || ' ' || partition || ' ' || next_offset AS place FROM refold.checkpoints WHERE reader IN ('a', 'b') ORDER BY 1`,
  )
  t.strictSame(
    rows.map(({ place }) => place),
    ['a 1 6', 'a 2 8', 'b 1 1'],
  )
})
