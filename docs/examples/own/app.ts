// The application of docs/workflows.md that lives beside the clone: test/docs/own-application.test.ts puts it there.

// region app
import { defineAction, defineApp, defineWorkflow, implement } from 'refold'
import { z } from 'zod'

const greet = defineAction({
  name: 'greet',
  parameters: z.object({ name: z.string() }),
  result: z.object({ text: z.string() }),
})

export const greeting = defineWorkflow(
  { name: 'greeting', version: '1', input: z.object({ name: z.string() }), actions: { greet } },
  async ({ input, actions }) => actions.greet({ name: input.name }),
)

export default defineApp({
  workflows: [greeting],
  implementations: [implement(greet, async ({ parameters }) => ({ text: `Good morning, ${parameters.name}` }))],
})
// endregion
