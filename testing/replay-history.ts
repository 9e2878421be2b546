// A recorded history, replayed on today's code: `refold executions export <id> > history.json`, and a test that reads it.

import { z } from 'zod'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { nextChain } from '../workflow/content.ts'
import { classify } from '../workflow/events.ts'
import { parseJson } from '../workflow/json.ts'
import { createReplay, type Divergence, type Fed } from '../workflow/replay.ts'
import type { Workflow } from '../workflow/workflow.ts'

const exported = z.array(
  z.looseObject({
    event_id: z.string(),
    tenant: z.string(),
    execution_id: z.string(),
    event_name: z.string(),
    event_type: z.string(),
    from_state: z.string(),
    to_state: z.string(),
    user_id: z.string().nullable(),
    payload: z.unknown(),
    created_at: z.string(),
    appended_at: z.string(),
    seq: z.number(),
    decision: z.number(),
    causation_id: z.string().nullable(),
    correlation_id: z.string().nullable(),
  }),
)

/** States as the author's code decides them: the history has computed ones. */
function statesOf(name: string, from: string, to: string): { from_state: string; to_state: string } {
  return name === 'workflow.stateChanged' ? { from_state: from, to_state: to } : { from_state: '', to_state: '' }
}

/** The events of an exported history, as a replay takes them. Throws where the text is none. */
export function readHistory(text: string): Fed[] {
  return exported.parse(parseJson(text)).map(({ seq, appended_at: appendedAt, payload, created_at: createdAt, ...event }) => {
    const whole: WorkflowEvent = {
      ...event,
      ...statesOf(event.event_name, event.from_state, event.to_state),
      payload: payload === null ? null : JSON.stringify(payload),
      created_at: Date.parse(createdAt),
      workflow_name: null,
      business_key: null,
      decision_chain: '',
      decision_seq: 0,
      decision_input: '',
    }
    return { event: whole, seq, appendedAt: Date.parse(appendedAt) }
  })
}

/** Why an execution can't go on under this code; undefined: it fits. `history` is text of an export, or events. */
export async function replayHistory(workflow: Workflow, history: string | readonly Fed[]): Promise<Divergence | undefined> {
  const events = typeof history === 'string' ? readHistory(history) : history
  const [first] = events
  if (!first) return undefined
  const replay = createReplay({ workflow, tenant: first.event.tenant, executionId: first.event.execution_id, replaying: () => true })
  const before: Fed[] = []
  let started = false
  let chain = ''
  for (const fed of events) {
    const event = fed.event.decision > 0 ? { ...fed.event, decision_chain: chain } : fed.event
    const classified = classify(event)
    if ('fault' in classified) throw new Error(`event ${fed.seq} is not one of an accepted history: ${classified.fault.detail}`)
    const content = fed.content ?? classified.content
    if (event.decision > 0) chain = nextChain(chain, content)
    started ||= event.event_name === 'workflow.started'
    if (!started) {
      before.push(fed)
      continue
    }
    for (const early of before.splice(0)) await replay.feed(early)
    await replay.feed({ ...fed, event, content })
    if (replay.divergence) break
  }
  const { divergence } = replay
  replay.dispose()
  return divergence
}
