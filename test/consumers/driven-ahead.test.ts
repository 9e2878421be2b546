// One execution in memory, fed an outcome ahead (D4) at any moment between two of its own steps.

import t from 'tap'
import { z } from 'zod'
import { Driven, HISTORY_LIMIT, type PastEvent } from '../../consumers/driven.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { defineAction } from '../../workflow/action.ts'
import { contentOf } from '../../workflow/content.ts'
import { classify } from '../../workflow/events.ts'
import { createReplay } from '../../workflow/replay.ts'
import { defineWorkflow, type Workflow } from '../../workflow/workflow.ts'
import { event, EXECUTION, outcome, started } from '../support/events.ts'

const step = defineAction({ name: 'step', parameters: z.object({}), result: z.unknown() })
const two = defineWorkflow({ name: 'orders', version: '1', actions: { step } }, async ({ actions }) => {
  await actions.step({})
  return actions.step({})
})
const timed = defineWorkflow({ name: 'orders', version: '1', actions: { step } }, async ({ actions, now }) => {
  await actions.step({})
  // Asked some microtasks later.
  for (let n = 0; n < 20; n++) await Promise.resolve()
  return now()
})
const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
const ABOUT = 5000

const classified = (one: WorkflowEvent) => {
  const found = classify(one)
  if ('fault' in found) throw new Error(found.fault.detail)
  return found
}

const start = started({ payload: JSON.stringify({ workflow_name: 'orders', workflow_version: '1', key: null, input: null }) })
const first = outcome(1, 1)

/** What the log says until the first action is scheduled. */
async function begun(workflow: Workflow): Promise<WorkflowEvent[]> {
  const replay = createReplay({ workflow, tenant: start.tenant, executionId: EXECUTION })
  await replay.feed({ event: start, seq: 1, appendedAt: 1 })
  return [start, ...replay.decisions]
}

const past = (events: readonly WorkflowEvent[]): PastEvent[] =>
  events.map((one, i) => ({ event: one, seq: i + 1, appendedAt: i + 1, content: contentOf(one) }))

const drivenBy = (workflow: Workflow) =>
  new Driven({ tenant: start.tenant, executionId: EXECUTION, partition: 0, find: () => workflow, logger })

t.test('while its history is read nothing is fed ahead: the next event of the history may be another', async (t) => {
  const events = await begun(two)
  const other = event({ event_id: '00000000-0000-4000-8000-000000000001' })
  const driven = drivenBy(two)
  const recalling = driven.recall(past([...events, other]))
  // Looked at between any two microtasks, some in each turn, so that it goes on.
  for (let looks = 0; !driven.isAhead && looks < 10_000; looks++) {
    driven.foresee(classified(first), ABOUT).catch(() => undefined)
    await (looks % 20 === 0 ? new Promise<void>((resolve) => process.nextTick(resolve)) : Promise.resolve())
  }
  t.equal(driven.isAhead && driven.head.seq, 3, 'not before its end')
  await recalling
})

t.test('while an event is taken nothing is fed ahead: what asks for the time gets that of the record', async (t) => {
  const driven = drivenBy(timed)
  await driven.recall(past(await begun(timed)))
  const taking = driven.take(classified(first), 7777)
  t.strictSame(await driven.foresee(classified(first), ABOUT), [])
  await taking
  const [, end] = driven.replay?.decisions ?? []
  t.match(JSON.parse(end?.payload ?? ''), { result: 7777 })
})

t.test('an event that comes while one is fed ahead waits until it is known what is decided', async (t) => {
  const driven = drivenBy(timed)
  await driven.recall(past(await begun(timed)))
  const foreseeing = driven.foresee(classified(first), ABOUT)
  t.equal(await driven.take(classified(first), 7777), 'unforeseen', 'it asked for the time')
  t.equal(await foreseeing, 'unfit')
})

t.test('the warning of a long history is not passed over', async (t) => {
  const driven = drivenBy(two)
  await driven.recall(past(await begun(two)))
  driven.head = { ...driven.head, seq: HISTORY_LIMIT.warn - 1 }
  t.strictSame(await driven.foresee(classified(first), ABOUT), [])
})

t.test('a history that nears its limit is told of once, as it passes the mark, and not when it is read again', async (t) => {
  const lines: object[] = []
  const taking = { ...logger, warn: (facts: object, message: string) => void lines.push({ ...facts, message }) }
  const of = { tenant: start.tenant, executionId: EXECUTION, partition: 0, find: () => two, logger: taking }
  const driven = new Driven(of)
  await driven.recall(past(await begun(two)))
  const seen = (n: number) => event({ event_id: `00000000-0000-4000-8000-00000000000${n}` })
  driven.head = { ...driven.head, seq: HISTORY_LIMIT.warn - 2 }
  await driven.take(classified(seen(1)), 5)
  t.strictSame(lines, [], 'one before')
  await driven.take(classified(seen(2)), 6)
  const line = { executionId: EXECUTION, limit: HISTORY_LIMIT.most, message: 'the history of an execution nears its limit' }
  t.strictSame(lines, [line])
  await driven.take(classified(seen(3)), 7)
  t.strictSame(lines, [line], 'one behind')
  const again = new Driven(of)
  await again.recall(past(await begun(two)))
  again.head = { ...again.head, seq: HISTORY_LIMIT.warn - 1 }
  await again.recall([{ event: seen(4), seq: HISTORY_LIMIT.warn, appendedAt: 8, content: contentOf(seen(4)) }])
  t.equal(lines.length, 1)
})
