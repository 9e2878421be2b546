// Workflows for the tests on real servers. FLOW_CODE chooses what a deployment runs: `b` decides otherwise in the middle of
// `changing`; `2` registers version 2 of `versioned`. FLOW_HISTORY_LIMIT: how many events of a history are driven.
// REFOLD_TEST_LEDGER is the URL of the database where table `ledger` is.

import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'pg'
import { z } from 'zod'
import { HISTORY_LIMIT } from '../../consumers/driven.ts'
import { defineAction, defineApp, defineWorkflow, implement } from '../../index.ts'

const code = process.env['FLOW_CODE'] ?? 'a'
HISTORY_LIMIT.most = Number(process.env['FLOW_HISTORY_LIMIT'] ?? HISTORY_LIMIT.most)
let pool: Pool | undefined
const ledger = () => (pool ??= new Pool({ connectionString: process.env['REFOLD_TEST_LEDGER'], max: 4 }))

const mark = defineAction({
  name: 'mark',
  parameters: z.object({ ms: z.number() }),
  result: z.number(),
  retry: { attempts: 5, backoff: '100 ms' },
})
const fragile = defineAction({
  name: 'fragile',
  parameters: z.object({}),
  result: z.string(),
  retry: { attempts: 3, backoff: '1 h', max: '1 h' },
})
const unmanned = defineAction({ name: 'unmanned', parameters: z.object({}), result: z.string() })
const steady = defineAction({
  name: 'steady',
  parameters: z.object({ parts: z.number() }),
  result: z.string(),
  heartbeat: '2 s',
  retry: { attempts: 3, backoff: '10 ms' },
})
const relay = defineAction({
  name: 'relay',
  parameters: z.object({}),
  result: z.object({ from: z.number(), attempt: z.number(), pid: z.number() }),
  heartbeat: '1 min',
})

const actions = { mark, fragile, unmanned, steady, relay }

const fan = defineWorkflow(
  { name: 'fan', version: '1', input: z.object({ width: z.number(), ms: z.number() }), actions },
  async ({ input, actions: { mark: run } }) => {
    const pids = await Promise.all(Array.from({ length: input.width }, () => run({ ms: input.ms })))
    return pids.length
  },
)
const changing = defineWorkflow({ name: 'changing', version: '1', actions }, async ({ actions: { mark: run }, events, setState }) => {
  if (code === 'b') setState('somewhere else')
  await run({ ms: 0 })
  const event = await events.waitFor('go')
  await run({ ms: 0 })
  return event.payload
})
const versioned = defineWorkflow(
  { name: 'versioned', version: code === '2' ? '2' : '1', actions },
  async ({ events, actions: { mark: run } }) => {
    await events.waitFor('go')
    await run({ ms: 0 })
    return `by version ${code === '2' ? '2' : '1'}`
  },
)
const waiting = defineWorkflow({ name: 'waiting', version: '1', input: z.object({ ms: z.number() }) }, async ({ input, events, now }) => {
  const since = now()
  const event = await events.waitFor('go', { timeout: input.ms })
  return event === null ? { late: now() - since - input.ms } : { came: event.payload }
})
const undoing = defineWorkflow({ name: 'undoing', version: '1' }, async ({ events }) => {
  try {
    return (await events.waitFor('go')).payload
  } catch {
    return (await events.waitFor('undone')).payload
  }
})
const sleeping = defineWorkflow({ name: 'sleeping', version: '1', input: z.object({ ms: z.number() }) }, async ({ input, sleep, now }) => {
  const since = now()
  await sleep(input.ms)
  return now() - since - input.ms
})
const failing = defineWorkflow({ name: 'failing', version: '1', actions }, async ({ actions: { fragile: run } }) => run({}))
const stuck = defineWorkflow({ name: 'stuck', version: '1', actions }, async ({ actions: { unmanned: run } }) => run({}))
const long = defineWorkflow({ name: 'long', version: '1', actions }, async ({ actions: { steady: run } }) => run({ parts: 6 }))
const relayed = defineWorkflow({ name: 'relayed', version: '1', actions }, async ({ actions: { relay: run } }) => run({}))
const foreign = defineWorkflow({ name: 'foreign', version: '1', actions }, async ({ actions: { mark: run } }) => {
  await pause(1)
  return run({ ms: 0 })
})

export default defineApp({
  workflows: [fan, changing, versioned, waiting, undoing, sleeping, failing, stuck, long, relayed, foreign],
  implementations: [
    implement(mark, async ({ parameters, executionId, action, attempt, signal }) => {
      await ledger().query('INSERT INTO ledger (guarantee, execution, action, attempt, pid) VALUES ($1, $2, $3, $4, $5)', [
        'at-least-once',
        executionId,
        action,
        attempt,
        process.pid,
      ])
      if (parameters.ms > 0) await pause(parameters.ms, undefined, { signal })
      return process.pid
    }),
    implement(fragile, async () => {
      throw Object.assign(new Error('the target answers 503'), { code: 'TARGET_DOWN' })
    }),
    // Whoever runs it first tells three parts at once, and once more that it lives, and stays; the next one says where it went on.
    implement(relay, async ({ progress, heartbeat, attempt, signal }) => {
      const known = z.object({ done: z.number() }).safeParse(progress).data
      if (known) return { from: known.done, attempt, pid: process.pid }
      for (const done of [1, 2, 3]) heartbeat({ done })
      heartbeat()
      return pause(600_000, { from: 0, attempt, pid: process.pid }, { signal })
    }),
    // Does a part at a time; its worker may die between two, and the next attempt goes on from there.
    implement(steady, async ({ parameters, progress, heartbeat, attempt }) => {
      let done = z.object({ done: z.number() }).safeParse(progress).data?.done ?? 0
      while (done < parameters.parts) {
        await pause(300)
        heartbeat({ done: ++done })
        // Silent from here on: the first attempt is found dead by its heartbeat, not by its timeout.
        if (attempt === 1 && done === 4) await pause(60_000)
      }
      return `${done} parts, the last ones by attempt ${attempt}`
    }),
  ],
})
