// The recorder over records at rest: from the first batch in hand to the last commit.

import { bareCatchUp } from './catch-up-limit.ts'
import { manyEvents } from './events.ts'
import { fill, type Ground, PARTITIONS } from './ground.ts'
import { type Bench, introduce, rate, say, takeTurns } from './measure.ts'
import { openRecorder } from './our-recorder.ts'

/** Our recorder with a fresh group and empty tables; answers records a second. */
export async function ourCatchUp(ground: Ground, count: number): Promise<number> {
  const done = Promise.withResolvers<void>()
  let stored = 0
  let began = 0
  const recorder = openRecorder(ground, {
    given: () => (began ||= performance.now()),
    stored({ records }) {
      stored += records.length
      if (stored >= count) done.resolve()
    },
  })
  await recorder.start()
  await done.promise
  const seconds = (performance.now() - began) / 1000
  await recorder.stop()
  return count / seconds
}

async function check(ground: Ground, count: number): Promise<void> {
  const { rows } = await ground.admin.query<{ events: string; states: string }>(
    'SELECT (SELECT count(*) FROM refold.workflow_events) AS events, (SELECT sum(last_seq) FROM refold.workflow_executions) AS states',
  )
  if (Number(rows[0]?.events) !== count || Number(rows[0]?.states) !== count)
    throw new Error(`of ${count} events ${rows[0]?.events} are in the audit and ${rows[0]?.states} in the states`)
}

export const bench: Bench = async (ground, { events: count = 100_000, rounds = 3, only }) => {
  introduce(
    `Recorder catch-up: ${count} records at rest, ${PARTITIONS} partitions, executions of 5 to 10 events`,
    'first batch in hand → last commit: decode, accept, fold, audit, heads, states, snapshots, checkpoint',
    'joining the group, and the first fetch. Limit: kafkajs, avsc, fold without accept, COPY of the same audit rows, upsert of the states, checkpoint',
  )
  say('  filling the log …')
  const bytes = await fill(ground, manyEvents(count))
  say(`  ${(bytes / count).toFixed(0)} bytes a record\n`)
  const turn = (catchUp: typeof ourCatchUp) => async () => {
    await ground.clear()
    const figure = await catchUp(ground, count)
    await check(ground, count)
    return figure
  }
  await takeTurns(
    [
      { name: 'ours', turn: turn(ourCatchUp) },
      { name: 'limit', turn: turn(bareCatchUp) },
    ],
    rate,
    'higher',
    { rounds, only },
  )
}
