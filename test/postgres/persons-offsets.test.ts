// What a person did with Kafka's own tool, heard on a real Postgres, with the log in memory: each request once, none without an answer.

import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createProjectionRequests } from '../../postgres/projection-requests.ts'
import { heedPersonsOffsets, heedStanding } from '../../roles/persons-offsets.ts'
import { createMemoryLog } from '../../testing/memory-log.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

const [TOPIC, GROUP] = ['events', 'refold.projection.cases.g1']

async function useWorld(t: Test) {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return undefined
  const { admin } = await useDatabase(t, databaseUrl)
  await admin.query("INSERT INTO refold.projections (name, version) VALUES ('cases', 1)")
  const log = createMemoryLog()
  await log.ensureTopic({ name: TOPIC, partitions: 2, replication: 1, settings: {} })
  const checkpoints = new Map([
    [0, 10],
    [1, 10],
  ])
  const how = {
    well: log,
    dies: { ...log, dropGroup: () => Promise.reject(new Error('killed')) },
    diesLater: { ...log, dropGroup: async (group: string) => (await log.dropGroup(group), Promise.reject(new Error('killed'))) },
    denied: { ...log, dropGroup: async () => false },
  }
  const deps = (which: keyof typeof how) => ({ log: how[which], topic: TOPIC, pool: admin, logger: pino({ level: 'silent' }) })
  const heed = (which: keyof typeof how = 'well') =>
    heedPersonsOffsets(deps(which), { group: GROUP, projection: 'cases', reader: 'cases@g1', checkpoints })
  return {
    /** With the mirror's metadata it is ours. */
    commits: (partition: number, offset: number, metadata = '') => log.setGroupOffset(GROUP, TOPIC, partition, offset, metadata),
    /** A process that starts; `dies`: once it has stored what it answers; `denied`: ACLs forbid it to delete the group. */
    heed,
    /** The look of a process again and again; gives which groups it asked about. */
    looks: async (isRead: boolean) => {
      const asked: string[] = []
      const one = (group: string) => ({
        group,
        isRead,
        heed: async () => (asked.push(group), group === GROUP ? heed('denied') : undefined),
      })
      await heedStanding(deps('denied'), [one(`${GROUP}0`), one(GROUP)])
      return asked
    },
    /** Another process is at the group until it is called. */
    busy: async () => {
      const client = await admin.connect()
      await client.query('SELECT pg_advisory_lock(hashtext($1))', [`refold.offsets.${GROUP}`])
      return async () => {
        await client.query('SELECT pg_advisory_unlock(hashtext($1))', [`refold.offsets.${GROUP}`])
        client.release()
      }
    },
    ends: () => admin.query("UPDATE refold.operations SET state = 'done', ended_at = now()"),
    rebuild: () => createProjectionRequests(admin, async () => 'dropped').open('cases', 'rebuild', 'a person'),
    operations: async () =>
      (await admin.query<{ kind: string; log: { line: string }[] }>('SELECT kind, log FROM refold.operations ORDER BY requested_at')).rows,
    incidents: async () => {
      const client = await admin.connect()
      await client.query("SELECT set_config('refold.operator', 'on', false)")
      const { rows } = await client.query<{ summary: string }>(
        'SELECT kind, subject, summary FROM refold.incidents WHERE closed_at IS NULL',
      )
      client.release()
      return rows
    },
    offsets: async () => (await log.groupOffsets(GROUP, TOPIC)).map(({ offset }) => offset),
  }
}

t.test('the same offsets set again, once the first request was answered, are a new request', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  world.commits(0, 0)
  await world.heed()
  t.match(await world.operations(), [{ kind: 'reset' }])
  t.strictSame(await world.offsets(), [null, null], "the person's offsets are gone from the group")
  await world.heed()
  await world.ends()
  await world.heed()
  t.equal((await world.operations()).length, 1)
  world.commits(0, 0)
  await world.heed()
  t.match(await world.operations(), [{ kind: 'reset' }, { kind: 'reset' }])
})

t.test('a request that was stored is not stored again by who finds its offsets still there', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  world.commits(0, 0)
  world.commits(1, 3)
  await t.rejects(world.heed('dies'), /killed/)
  await t.rejects(world.heed('dies'), /killed/)
  // The mirror was here first on one of them.
  world.commits(0, 10, 'refold:cases:g1:10')
  await t.rejects(world.heed('dies'), /killed/)
  await world.ends()
  await Promise.all([world.heed(), world.heed()])
  t.equal((await world.operations()).length, 1)
  t.strictSame(await world.incidents(), [])
  // Nor is the next one taken for it.
  world.commits(1, 3)
  await world.heed()
  t.equal((await world.operations()).length, 2)
})

t.test('offsets that the mirror overwrote, and a person set again, are a new request too', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  world.commits(0, 0)
  await t.rejects(world.heed('dies'), /killed/)
  await world.ends()
  world.commits(0, 10, 'refold:cases:g1:10')
  await world.heed()
  world.commits(0, 0)
  await world.heed()
  t.equal((await world.operations()).length, 2)
})

for (const which of ['denied', 'diesLater'] as const)
  t.test(`the same request once the mirror has its group again is a new one: ${which}`, async (t) => {
    const world = await useWorld(t)
    if (!world) return
    world.commits(0, 0)
    await world.heed(which).catch(() => undefined)
    await world.ends()
    t.strictSame(await world.looks(true), [GROUP])
    t.equal((await world.operations()).length, 1)
    world.commits(0, 10, 'refold:cases:g1:10')
    await world.looks(true)
    t.strictSame(await world.looks(true), [], 'a group that is read, and has no note, is not asked about')
    // All readers end, and a person does the same again.
    world.commits(0, 0)
    await world.heed(which).catch(() => undefined)
    t.equal((await world.operations()).length, 2)
  })

t.test('a group that another process is at is not waited for, nor joined', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  world.commits(0, 0)
  const goesAway = await world.busy()
  const looked = world.heed()
  t.equal(await Promise.race([looked, pause(5000, 'waits', { ref: false })]), false)
  t.strictSame(await world.operations(), [])
  await goesAway()
  await looked
  t.equal(await world.heed(), true)
  t.equal((await world.operations()).length, 1)
  t.equal(await world.heed(), true, 'nothing of a person is there')
})

t.test('of groups that nobody reads, those that are there are looked at', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  t.strictSame(await world.looks(false), [])
  world.commits(0, 0)
  t.strictSame(await world.looks(false), [GROUP])
  t.match(await world.operations(), [{ kind: 'reset' }])
})

t.test(
  'a reset while an operation is open is refused: an incident, a line in its log, and never later without being asked again',
  async (t) => {
    const world = await useWorld(t)
    if (!world) return
    const open = await world.rebuild()
    world.commits(0, 0)
    await t.rejects(world.heed('dies'), /killed/)
    await world.heed()
    t.match(await world.operations(), [{ kind: 'rebuild', log: [{ line: /reset to p0:0 by Kafka's tool.* ignored/ }] }])
    t.equal((await world.operations())[0]?.log.length, 1)
    const [incident] = await world.incidents()
    t.match(incident, { kind: 'offset-refused', subject: 'cases@g1' })
    t.match(incident?.summary, new RegExp(`operation ${open} \\(rebuild, requested\\) is open.*then set the offsets again`))
    await world.ends()
    await world.heed()
    t.equal((await world.operations()).length, 1)
    world.commits(0, 0)
    await world.heed()
    t.match(await world.operations(), [{ kind: 'rebuild' }, { kind: 'reset' }])
    t.strictSame(await world.incidents(), [], 'what was refused before is no concern any more')
  },
)

t.test('beyond the checkpoint is refused; at it, nothing is asked, whatever the mirror does later', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  world.commits(0, 10)
  world.commits(1, 11)
  await world.heed()
  t.strictSame(await world.operations(), [])
  t.match(await world.incidents(), [{ kind: 'offset-refused', summary: /beyond the checkpoint, at p1:11: nothing is skipped/ }])
  t.strictSame(await world.offsets(), [null, null])
  // Refused and accepted in one: what was refused in it stays.
  world.commits(0, 3)
  world.commits(1, 12)
  await world.heed()
  t.match(await world.operations(), [{ kind: 'reset' }])
  const left = await world.incidents()
  t.match(left, [{ kind: 'offset-refused', summary: /at p1:12: nothing is skipped/ }])
  t.equal(left.length, 1)
})
