// Offsets of a projection's group that are gone, or are a stale member's: never a needless rebuild, never a skipped event.
// (With Kafka's own tool: kafka-tool.test.ts. A mirror below the checkpoint: projector-crash.test.ts.)

import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { STATES, useWorld } from '../support/projection-world.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

t.test('what was folded is known by the checkpoint alone', async (whole) => {
  const world = await useWorld(whole)
  if (!world) return
  const { installation, brokers } = world
  const { admin: database } = installation.database
  const prefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const topic = `${prefix}.events`
  const groupId = `${prefix}.projection.states.g1`
  const kafka = new Kafka({ brokers, clientId: 'person', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  whole.teardown(() => admin.disconnect())
  let executions = 0
  const send = async (count: number) => {
    await world.send(executions, count)
    executions += count
  }
  const exact = async () => {
    await world.caughtUp('states', executions * STATES.length)
    const { rows } = await database.query<{ state: string; events: string }>('SELECT state, events FROM projections.states ORDER BY 1')
    return rows.map(({ state, events }) => `${state} ${events}`)
  }
  const expected = () => STATES.map((state) => `${state} ${executions}`).toSorted()
  const isEmpty = () =>
    until(async () => (await admin.describeGroups([groupId])).groups[0]?.members.length === 0, { within: 30_000, what: 'no member' })

  await whole.test('a group that expired: Kafka knows nothing of it, and events came meanwhile', async (t) => {
    const projector = await world.project()
    await send(50)
    t.strictSame(await exact(), expected())
    await projector.stop()
    await isEmpty()
    await send(30)
    // As after offsets.retention.minutes without a member.
    await admin.deleteGroups([groupId])
    t.notOk((await admin.listGroups()).groups.some((one) => one.groupId === groupId))
    const again = await world.project()
    t.strictSame(await exact(), expected())
    const mirrored = async () =>
      (await admin.fetchOffsets({ groupId, topics: [topic] }))[0]?.partitions.reduce(
        (sum, { offset }) => sum + Math.max(0, Number(offset)),
        0,
      )
    const { rows } = await database.query<{ n: string }>("SELECT sum(next_offset) AS n FROM refold.checkpoints WHERE reader = 'states@g1'")
    await until(async () => (await mirrored()) === Number(rows[0]?.n), {
      what: 'the offsets to be there again, as the checkpoint has them',
    })
    await again.stop()
  })

  await whole.test('a stale mirror above the checkpoint skips nothing', async (t) => {
    await isEmpty()
    await send(20)
    const zombie = kafka.consumer({ groupId })
    const joined = new Promise((resolve) => void zombie.on(zombie.events.GROUP_JOIN, resolve))
    await zombie.connect()
    await zombie.subscribe({ topic, fromBeginning: true })
    await zombie.run({ autoCommit: false, eachMessage: async () => undefined })
    await joined
    const ends = await admin.fetchTopicOffsets(topic)
    await zombie.commitOffsets(
      ends.map(({ partition, high }) => ({ topic, partition, offset: high, metadata: `refold:states:g1:${high}` })),
    )
    await zombie.disconnect()
    const projector = await world.project()
    t.strictSame(await exact(), expected())
    await projector.stop()
  })

  await whole.test('a member that stood still while another took its partitions, and goes on late', async (t) => {
    const stale = await world.project()
    await send(20)
    t.strictSame(await exact(), expected())
    // In the middle of its work: what it has fetched and not stored, and its commits, come when it goes on.
    const sending = send(100)
    stale.child.kill('SIGSTOP')
    whole.teardown(() => stale.child.kill('SIGCONT'))
    const other = await world.project()
    await sending
    t.strictSame(await exact(), expected(), 'the other folds all of it')
    stale.child.kill('SIGCONT')
    await send(50)
    t.strictSame(await exact(), expected(), 'none twice by the one that was late')
    t.equal(await stale.stop(), 0)
    await send(10)
    t.strictSame(await exact(), expected())
    t.equal(await other.stop(), 0)
  })

  for (const name of ['cases', 'states', 'handled']) whole.equal((await world.show(name)).liveGeneration, 1, `${name}: no needless rebuild`)
  whole.strictSame((await world.rest.get('/v1/operations')).json(), { operations: [] })
  whole.match((await world.rest.get('/v1/incidents')).text, '{"incidents":[]')
})
