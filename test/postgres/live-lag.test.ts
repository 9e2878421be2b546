// How far everything that people read is behind, whichever process folds it: what a build backs off for.

import t from 'tap'
import { createLiveLag } from '../../postgres/live-lag.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

t.test('live lag is that of all partitions and all processes', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin } = await useDatabase(t, databaseUrl)
  await admin.query(`
    INSERT INTO refold.projections (name, version, live_generation, stopped_at)
    VALUES ('read', 1, 1, NULL), ('frozen', 2, 1, NULL), ('stopped', 1, 1, now());
    INSERT INTO refold.generations (projection, generation, version, schema_name, definition, state)
    VALUES ('read', 1, 1, 'a', '{}', 'live'), ('read', 2, 1, 'b', '{}', 'building'), ('frozen', 1, 1, 'c', '{}', 'live'), ('stopped', 1, 1, 'd', '{}', 'live');
    INSERT INTO refold.processes (id, role, deployment, workflows, actions, queues, partitions, generations)
    VALUES ('other', 'projector', NULL, '{}', '{}', '{}', '{}', '{read@g1,read@g2,stopped@g1}');
    INSERT INTO refold.checkpoints (reader, partition, next_offset, parked_at)
    VALUES ('recorder', 0, 95, NULL), ('recorder', 1, 100, NULL), ('read@g1', 0, 90, NULL), ('read@g1', 1, 80, NULL),
      ('read@g2', 0, 0, NULL), ('frozen@g1', 0, 0, NULL), ('stopped@g1', 0, 0, NULL)
    ON CONFLICT (reader, partition) DO UPDATE SET next_offset = excluded.next_offset`)
  const ends = async () => [
    { partition: 0, low: 0, high: 100 },
    { partition: 1, low: 0, high: 100 },
  ]
  let clock = 0
  const lag = (of: 'recorder' | 'all' = 'all') => createLiveLag(admin, ends, of, () => clock)
  t.equal(await lag('recorder')(), 5)
  const all = lag()
  t.equal(await all(), 35, 'of what is built, stopped, or folded by nobody, none')
  // One that is parked does not come, however long a build waits.
  await admin.query("UPDATE refold.checkpoints SET parked_at = 80 WHERE reader = 'read@g1' AND partition = 1")
  clock = 999
  t.equal(await all(), 35, 'asked once a second')
  clock = 1000
  t.strictSame(await Promise.all([all(), all()]), [15, 15])
  await admin.query("UPDATE refold.checkpoints SET next_offset = 100 WHERE reader = 'read@g1' AND partition = 0")
  clock = 2000
  t.equal(await all(), 5, 'whoever caught up, nothing is kept of before')
})

t.test('a lag that cannot be asked keeps no build back', async (t) => {
  const lag = createLiveLag(
    { query: () => Promise.reject(new Error('away')) } as never,
    async () => [],
    'all',
    () => 0,
  )
  t.equal(await lag(), 0)
})
