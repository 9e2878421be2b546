// The workflows of bench/workflows.ts: actions that do nothing, or take 100 ms.

import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { defineAction, defineApp, defineWorkflow, implement } from '../index.ts'

const noop = defineAction({ name: 'noop', parameters: z.object({}), result: z.number() })
const slow = defineAction({ name: 'slow', parameters: z.object({ ms: z.number() }), result: z.number() })
const actions = { noop, slow }
const count = z.object({ count: z.number() })

export default defineApp({
  workflows: [
    defineWorkflow({ name: 'three', version: '1', actions }, async ({ actions: { noop: run } }) => {
      await run({})
      await run({})
      return run({})
    }),
    defineWorkflow({ name: 'fan', version: '1', input: count, actions }, async ({ input, actions: { noop: run } }) => {
      const all = await Promise.all(Array.from({ length: input.count }, () => run({})))
      return all.length
    }),
    defineWorkflow({ name: 'signal', version: '1' }, async ({ events }) => (await events.waitFor('go')).payload),
    defineWorkflow({ name: 'steps', version: '1', input: count, actions }, async ({ input, actions: { noop: run }, events }) => {
      for (let i = 0; i < input.count; i++) await run({})
      await events.waitFor('go')
      return input.count
    }),
    defineWorkflow({ name: 'timer', version: '1' }, async ({ sleep, now }) => {
      const since = now()
      await sleep(1000)
      return now() - since - 1000
    }),
    defineWorkflow({ name: 'five', version: '1', actions }, async ({ actions: { slow: run } }) => {
      for (let i = 0; i < 5; i++) await run({ ms: 100 })
      return 5
    }),
  ],
  implementations: [
    implement(noop, async () => 1),
    implement(slow, async ({ parameters, signal }) => {
      await pause(parameters.ms, undefined, { signal })
      return 1
    }),
  ],
})
