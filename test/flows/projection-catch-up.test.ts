// A rebuild that remembers hardly a row, with refused records among those it reads: what was forgotten is read back, what was
// refused is left out.

import t from 'tap'
import { executionOf, STATES, useWorld } from '../support/projection-world.ts'

t.setTimeout(240_000)

const EXECUTIONS = 240

t.test('a generation built with small caches over refused records has exactly the rows of the accepted ones', async (t) => {
  const world = await useWorld(t)
  if (!world) return
  const { admin } = world.installation.database
  // A row for each partition: the next event of an execution always finds its row forgotten.
  Object.assign(world.installation.env, { REFOLD_PROJECTOR_ROWS: '12', REFOLD_PROJECTOR_BATCH: '40' })
  const eventOf = (n: number, state: number) => ({
    event_id: `0b8f1c7e-5d1e-4c3a-9b${state.toString(16).padStart(2, '0')}-${n.toString(16).padStart(12, '0')}`,
    execution_id: executionOf(n),
    event_name: `case.${STATES[state]}`,
    to_state: STATES[state],
    payload: { amount: n },
  })
  const send = async (events: readonly object[]) => {
    for (let at = 0; at < events.length; at += 120) {
      const answer = await world.rest.send(events.slice(at, at + 120), { prefer: 'wait=10' })
      if (answer.status !== 202) throw new Error(answer.text)
    }
  }
  for (const state of STATES.keys()) {
    const all = Array.from({ length: EXECUTIONS }, (_, n) => eventOf(n, state))
    await send(all)
    // The same again, and others under an id that was used: refused, and in the log between the others.
    await send(all.filter((_, n) => n % 3 === 0))
    await send(all.filter((_, n) => n % 5 === 0).map((one) => ({ ...one, payload: { amount: 1_000_000 } })))
  }
  const refused = await admin.query<{ n: number }>("SELECT count(*)::int AS n FROM refold.event_verdicts WHERE verdict <> 'accepted'")
  t.ok(Number(refused.rows[0]?.n) >= EXECUTIONS, `${refused.rows[0]?.n} refused`)
  const accepted = EXECUTIONS * STATES.length
  const holds = async (what: string) => {
    const { rows } = await admin.query<{ execution: string; events: string; amount: number; state: string }>(
      'SELECT execution, events, amount, state FROM projections.cases ORDER BY execution',
    )
    t.strictSame(
      rows,
      Array.from({ length: EXECUTIONS }, (_, n) => ({ execution: executionOf(n), events: '4', amount: 4 * n, state: 'sent' })),
      `${what}: cases`,
    )
    const states = await admin.query<{ state: string; events: string }>('SELECT state, events FROM projections.states ORDER BY state')
    t.strictSame(
      states.rows,
      STATES.toSorted().map((state) => ({ state, events: String(EXECUTIONS) })),
      `${what}: states`,
    )
  }

  // Everything is in the log before anybody folds: catch-up.
  await world.project()
  for (const name of ['cases', 'states']) await world.caughtUp(name, accepted)
  await holds('caught up')
  for (const [name, view] of [
    ['cases', 'refold_p_cases_g2'],
    ['states', 'refold_p_states_g2'],
  ] as const) {
    const { operation } = await world.ask(name, 'rebuild')
    const ready = await world.operation(operation, 'ready')
    t.equal(ready.comparison?.differing, 0, `${name}: nothing differs`)
    t.ok(Number((await admin.query(`SELECT FROM ${view}.${name}`)).rowCount) > 0)
    await world.ask(name, 'promote')
    await world.operation(operation, 'done')
    t.equal((await world.show(name)).liveGeneration, 2)
  }
  await holds('rebuilt')
})
