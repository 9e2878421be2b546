// Whatever comes before an outcome that was decided ahead, and whatever becomes of its append: the execution ends, what was accepted is
// what a replay of the log from its beginning makes, and nothing was asked for but what the log says (decision 0015).

import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ActionRequest } from '../../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head } from '../../workflow/accept.ts'
import { classify } from '../../workflow/events.ts'
import { createReplay } from '../../workflow/replay.ts'
import { event } from '../support/events.ts'
import { newId } from '../../workflow/ids.ts'
import { openExecution, type Step } from '../support/one-execution.ts'
import { randomOf } from '../support/random-workflow.ts'

const LIVES = 60
const AT_ONCE = 20

/** Nine steps, each an action called with what came of the one before. */
function programOf(seed: number): Step {
  const random = randomOf(seed)
  const steps = Array.from({ length: 9 }, () => Math.floor(random() * 6))
  return async ({ actions, data, events, setState, uuid }) => {
    let after = 0
    for (const [n, step] of steps.entries()) {
      if (step === 1) data.set('after', after)
      if (step === 2) setState(`s${n}-${after}`)
      if (step === 3) {
        events.emit('note', after)
        after = Number((await events.waitFor('note')).payload)
      }
      if (step === 4) after += uuid().length
      after = await actions.next({ after }, step === 5 ? { key: `k${after}` } : {})
    }
    return after
  }
}

type Execution = Awaited<ReturnType<typeof openExecution>>

async function live(t: Test, seed: number): Promise<Execution['happened']> {
  const random = randomOf(seed + 1_000_000)
  const program = programOf(seed)
  const one = await openExecution(t, program)
  let runs = 0
  const outcome = (request: ActionRequest) => one.ended(request, { result: String(++runs) })
  const signal = () =>
    one.others.append(event({ tenant: one.tenant, execution_id: one.executionId, event_id: newId(), event_name: 'signal' }))
  /** What happens at the moment that an outcome is to be appended. */
  function meddle(request: ActionRequest): void {
    const what = Math.floor(random() * 10)
    if (what === 0) return one.meanwhile(() => void signal())
    if (what === 1)
      return one.meanwhile(() => {
        void one.ask('workflow.pauseRequested')
        setTimeout(() => void one.ask('workflow.resumeRequested'), 10)
      })
    if (what === 2) return one.meanwhile(() => void one.others.append(outcome(request)))
    if (what === 3) return one.meanwhile(() => Promise.reject(new Error('not written')))
    if (what > 5) return
    one.away.times = what - 4
    one.meanwhile(() => {
      setTimeout(() => void one.others.append(outcome(request)), random() * 10)
      return Promise.reject(new Error('written later, and not told'))
    })
  }
  for (let n = 1; !one.isOver();) {
    if (one.requested() < n) {
      await pause(2)
      continue
    }
    const request = await one.request(n++)
    meddle(request)
    // As a worker does, until it is told that it was taken.
    while (!(await one.tell(request, ++runs).catch(() => undefined))) await pause(5)
  }
  const replay = createReplay({ workflow: one.workflow, tenant: one.tenant, executionId: one.executionId })
  const contents = new Map<string, string>()
  const scheduled = new Map<string, string | null>()
  let head: Head = BLANK_HEAD
  for (const found of await one.records()) {
    const classified = classify(found)
    if ('fault' in classified) throw new Error(classified.fault.detail)
    const verdict = accept(classified, head, contents.get(found.event_id), 0)
    if (verdict.verdict !== 'accepted') continue
    head = verdict.head
    contents.set(found.event_id, classified.content)
    if (found.event_name === 'action.scheduled') scheduled.set(found.event_id, found.payload)
    await replay.feed({ event: found, seq: verdict.seq, appendedAt: 0, content: classified.content })
  }
  t.equal(replay.divergence, undefined, `life ${seed}`)
  t.equal(replay.readBack, replay.decisions.length, `life ${seed}`)
  t.equal(head.phase, 'ended', `life ${seed}`)
  for (let n = 1; n <= one.requested(); n++) {
    const request = await one.request(n)
    t.equal(scheduled.get(request.action_id), request.scheduled, `request ${n} of life ${seed}`)
  }
  t.equal(one.parked(), 0)
  return one.happened
}

t.test('random lives', async (t) => {
  let [foreseen, inVain] = [0, 0]
  for (let from = 1; from <= LIVES; from += AT_ONCE)
    for (const happened of await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => live(t, from + n)))) {
      foreseen += happened.foreseen
      inVain += happened.inVain
    }
  t.ok(foreseen > LIVES && inVain > LIVES / 2, `${foreseen} foreseen, ${inVain} in vain`)
})
