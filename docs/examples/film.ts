// An application with an action for some machines only: docs/workflows.md shows its regions, test/docs/queues.test.ts runs it on
// two workers, one of each kind.

import { z } from 'zod'
import { defineAction, defineApp, defineWorkflow, implement } from '../../index.ts'

// region contracts
const render = defineAction({
  name: 'render',
  parameters: z.object({ scene: z.number() }),
  result: z.object({ frames: z.number() }),
  queue: 'gpu',
})
const cut = defineAction({
  name: 'cut',
  parameters: z.object({ frames: z.number() }),
  result: z.object({ film: z.string() }),
})
// endregion

const film = defineWorkflow(
  { name: 'film', version: '1', input: z.object({ scenes: z.number() }), actions: { render, cut } },
  async ({ input, actions }) => {
    const scenes = await Promise.all(Array.from({ length: input.scenes }, (_, scene) => actions.render({ scene })))
    return actions.cut({ frames: scenes.reduce((sum, { frames }) => sum + frames, 0) })
  },
)

export default defineApp({
  workflows: [film],
  implementations: [
    implement(render, async () => ({ frames: 24 })),
    implement(cut, async ({ parameters }) => ({ film: `${parameters.frames} frames` })),
  ],
})
