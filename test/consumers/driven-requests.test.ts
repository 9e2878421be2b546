// Which attempts of one execution are to be asked for, and how often.

import t from 'tap'
import { z } from 'zod'
import { Driven, type PastEvent } from '../../consumers/driven.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { defineAction } from '../../workflow/action.ts'
import { contentOf } from '../../workflow/content.ts'
import { classify } from '../../workflow/events.ts'
import { createReplay } from '../../workflow/replay.ts'
import { defineWorkflow } from '../../workflow/workflow.ts'
import { EXECUTION, outcome, started } from '../support/events.ts'

const step = defineAction({
  name: 'step',
  parameters: z.object({}),
  result: z.unknown(),
  retry: { attempts: 3, backoff: '1 hour', factor: 1, max: '1 hour' },
})
const three = defineWorkflow({ name: 'orders', version: '1', actions: { step } }, ({ actions }) =>
  Promise.all([actions.step({}), actions.step({}), actions.step({})]),
)
const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const start = started({ payload: JSON.stringify({ workflow_name: 'orders', workflow_version: '1', key: null, input: null }) })
const failed = outcome(1, 1, {
  event_name: 'action.attemptFailed',
  payload: JSON.stringify({ action: 1, attempt: 1, error: { name: 'Error', message: 'no' } }),
})

/** The log of an execution whose three actions are scheduled, and what follows. */
async function logOf(...more: WorkflowEvent[]): Promise<WorkflowEvent[]> {
  const replay = createReplay({ workflow: three, tenant: start.tenant, executionId: EXECUTION })
  const all: WorkflowEvent[] = []
  for (const one of [start, ...more]) {
    const read = all.push(one)
    await replay.feed({ event: one, seq: read, appendedAt: read })
    for (const decision of replay.decisions.slice(replay.readBack)) {
      const seq = all.push(decision)
      await replay.feed({ event: decision, seq, appendedAt: seq })
    }
  }
  return all
}

const past = (events: readonly WorkflowEvent[]): PastEvent[] =>
  events.map((one, i) => ({ event: one, seq: i + 1, appendedAt: i + 1, content: contentOf(one) }))

const newDriven = () => new Driven({ tenant: start.tenant, executionId: EXECUTION, partition: 0, find: () => three, logger })

const asked = (driven: Driven) => driven.unrequested().map(({ action, attempt }) => `${action}/${attempt}`)

async function takeAll(driven: Driven, events: readonly WorkflowEvent[]): Promise<string[]> {
  const all: string[] = []
  for (const [i, one] of events.entries()) {
    const classified = classify(one)
    if ('fault' in classified) throw new Error(classified.fault.detail)
    await driven.take(classified, i + 1)
    all.push(...asked(driven))
  }
  return all
}

t.test('each action is asked for once, when it was read back; again when nobody acknowledged it', async (t) => {
  const driven = newDriven()
  t.strictSame(await takeAll(driven, await logOf()), ['1/1', '2/1', '3/1'])
  t.strictSame(asked(driven), [])
  driven.notRequested(2)
  t.strictSame(asked(driven), ['2/1'])
  driven.forgetRequests()
  t.strictSame(asked(driven), ['1/1', '2/1', '3/1'], 'all that are open')
  t.strictSame(asked(driven), [])
})

t.test('an attempt that failed is not asked for while it waits to be tried again, and then under its next number', async (t) => {
  const events = await logOf(failed)
  t.equal(events.at(-1)?.event_name, 'timer.started', 'it backs off')
  const driven = newDriven()
  await driven.recall(past(events))
  t.strictSame(asked(driven), [], 'what a settled history asked for was acknowledged')
  driven.forgetRequests()
  t.strictSame(asked(driven), ['2/1', '3/1'])
  const retried = await logOf(failed, outcome(1, 1, { event_name: 'workflow.retryRequested', event_id: EXECUTION, payload: null }))
  t.strictSame(await takeAll(driven, retried.slice(events.length)), ['1/2'])
  driven.notRequested(1)
  t.strictSame(asked(driven), ['1/2'])
})
