// The state of an execution of 10,000 events, replayed from Postgres in this process.

import { Pool } from 'pg'
import { createReadPool } from '../postgres/reads/pool.ts'
import { replayEvents } from '../postgres/reads/replay.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { executionIdOf } from '../workflow/ids.ts'
import { ourCatchUp } from './catch-up.ts'
import { eventOf, TENANT } from './events.ts'
import { fill } from './ground.ts'
import { type Bench, introduce, millis, say, takeTurns } from './measure.ts'

/** Not a multiple of 20, so that a replay from the newest snapshot still folds some. */
const DEFAULT_EVENTS = 10_010
/** Replays in a turn; its figure is their mean. */
const TIMES = 5

export const bench: Bench = async (ground, { events: count = DEFAULT_EVENTS, rounds = 5, only }) => {
  introduce(
    `Replay of one execution of ${count} events`,
    'replayEvents: checkpoints, snapshot, history in batches of 1000, fold, as a tenant (row-level security)',
    'the state cache (not used) and REST. Limit: one SELECT of the same rows and JSON.parse of each payload',
  )
  const key = 'long'
  const executionId = executionIdOf(TENANT, 'order', key)
  const events: WorkflowEvent[] = Array.from({ length: count }, (_, n) => eventOf(executionId, key, n, n % 1000))
  // The keys of `data` would grow with the history; an order has only so many.
  for (const event of events) event.payload = event.payload?.replace(/"checked_\d+"/, `"checked_${event.to_state}"`) ?? null
  await fill(ground, events)
  await ourCatchUp(ground, count)
  const reads = createReadPool(ground.databaseUrl, { max: 2, name: 'bench-replay' })
  ground.owns(() => reads.close())
  const bare = new Pool({ connectionString: ground.databaseUrl, max: 2 })
  ground.owns(() => bare.end())

  async function select(after: number): Promise<void> {
    const { rows } = await bare.query<{ payload: string | null }>({
      name: `events-after`,
      text: `SELECT seq, event_name, to_state, payload, created_at, decision, correlation_id, workflow_name, business_key, appended_at
             FROM refold.workflow_events WHERE tenant = $1 AND execution_id = $2 AND seq > $3 ORDER BY seq`,
      values: [TENANT, executionId, after],
    })
    let data = {}
    for (const { payload } of rows) data = Object.assign(data, JSON.parse(payload ?? '{}'))
    if (rows.length !== count - after) throw new Error(`${rows.length} rows instead of ${count - after}`)
  }

  async function selectFromSnapshot(): Promise<void> {
    const { rows } = await bare.query<{ seq: string; state: string }>({
      name: 'snapshot',
      text: `SELECT seq, state FROM refold_derived_g1.workflow_snapshots WHERE tenant = $1 AND execution_id = $2 ORDER BY seq DESC LIMIT 1`,
      values: [TENANT, executionId],
    })
    JSON.parse(rows[0]?.state ?? '')
    await select(Number(rows[0]?.seq))
  }

  async function replay(useSnapshots: boolean): Promise<void> {
    const replayed = await replayEvents(reads, executionId, TENANT, { useSnapshots, batchSize: 1000 })
    if (replayed?.seq !== count) throw new Error(`replayed to ${replayed?.seq} instead of ${count}`)
  }

  const mean = (work: () => Promise<void>, times: number) => async () => {
    const began = performance.now()
    for (let i = 0; i < times; i++) await work()
    return (performance.now() - began) / times
  }
  for (const useSnapshots of [false, true]) {
    say(useSnapshots ? '  from the newest snapshot' : '  from the first event')
    const times = useSnapshots ? TIMES * 20 : TIMES
    const [ours, limit] = [() => replay(useSnapshots), useSnapshots ? selectFromSnapshot : () => select(0)]
    await takeTurns(
      [
        { name: 'ours', turn: mean(ours, times) },
        { name: 'limit', turn: mean(limit, times) },
      ],
      millis,
      'lower',
      { rounds, only },
    )
  }
}
