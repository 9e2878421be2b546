// accept against a second, naive one that remembers nothing but the list of what was accepted, written from the words of
// the design; and the properties that every reader relies on.

import fc from 'fast-check'
import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head } from '../../workflow/accept.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { classify } from '../../workflow/events.ts'
import { applyEvent, computedStates, initial, isComplete } from '../../workflow/execution.ts'
import { EXECUTION, TENANT } from '../support/events.ts'
import { type Entry, randomLog } from '../support/random-log.ts'

const RUNS = { numRuns: 2000 }

type Said = { verdict: string; seq?: number }
type Memory = { head: Head; contents: ReadonlyMap<string, string> }

function step({ event, appendedAt }: Entry, { head, contents }: Memory): { said: Said; memory: Memory } {
  const classified = classify(event)
  if ('fault' in classified) return { said: { verdict: 'quarantined' }, memory: { head, contents } }
  const verdict = accept(classified, head, contents.get(event.event_id), appendedAt)
  if (verdict.verdict !== 'accepted') return { said: { verdict: verdict.verdict }, memory: { head, contents } }
  const next = { head: verdict.head, contents: new Map(contents).set(event.event_id, classified.content) }
  return { said: { verdict: 'accepted', seq: verdict.seq }, memory: next }
}

function judge(log: readonly Entry[]): { said: Said[]; memory: Memory } {
  let memory: Memory = { head: BLANK_HEAD, contents: new Map() }
  const said = log.map((entry) => {
    const next = step(entry, memory)
    memory = next.memory
    return next.said
  })
  return { said, memory }
}

const TERMINAL = ['completed', 'failed', 'cancelled', 'terminated']
const OUTCOMES = ['action.completed', 'action.attemptFailed', 'timer.fired']

function isOver(accepted: readonly WorkflowEvent[]): boolean {
  const start = accepted.findIndex((one) => one.event_name === 'workflow.started')
  return accepted.some(
    (one, i) =>
      one.event_name === 'workflow.terminateRequested' ||
      (start !== -1 &&
        i > start &&
        one.decision > 0 &&
        ['workflow.completed', 'workflow.failed', 'workflow.cancelled'].includes(one.event_name)) ||
      ((start === -1 || i < start) &&
        one.decision === 0 &&
        !/^(workflow|action|timer|wait)\./.test(one.event_name) &&
        TERMINAL.includes(one.to_state)),
  )
}

function due(accepted: readonly WorkflowEvent[], timer: number): number {
  let at = Number.NEGATIVE_INFINITY
  for (const one of accepted) {
    const payload = JSON.parse(one.payload ?? '{}') as { fire_at?: string; timer_id?: number }
    if (one.event_name === 'timer.started' && one.decision === timer) at = Date.parse(payload.fire_at ?? '')
    if ((one.event_name === 'timer.cancelled' || one.event_name === 'timer.fired') && payload.timer_id === timer)
      at = Number.NEGATIVE_INFINITY
  }
  return at
}

/** The rules read literally, over the whole list of accepted events each time. */
function naive({ event, appendedAt }: Entry, accepted: readonly WorkflowEvent[]): string {
  if ('fault' in classify(event)) return 'quarantined'
  const same = accepted.find((one) => one.event_id === event.event_id)
  if (same) return contentOf(same) === contentOf(event) || OUTCOMES.includes(event.event_name) ? 'duplicate' : 'conflict'
  if (isOver(accepted)) return 'late'
  const isStarted = accepted.some((one) => one.event_name === 'workflow.started')
  if (event.event_name === 'workflow.started' && isStarted) return 'conflict'
  if (
    event.event_name === 'timer.fired' &&
    appendedAt < due(accepted, (JSON.parse(event.payload ?? '{}') as { timer_id: number }).timer_id)
  )
    return 'early'
  if (event.decision === 0) return 'accepted'
  const last = accepted.findLast((one) => one.decision > 0)
  const chain = last ? nextChain(last.decision_chain, contentOf(last)) : ''
  const input = accepted.findLast((one) => one.decision === 0)
  const isPlaced =
    event.decision_seq === 0 || (event.decision_seq === accepted.length + 1 && input && event.decision_input === contentOf(input))
  return isStarted && isPlaced && event.decision === (last?.decision ?? 0) + 1 && event.decision_chain === chain ? 'accepted' : 'conflict'
}

t.test('accept says what the rules say, read literally', async (t) => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(randomLog, (log) => {
      const accepted: WorkflowEvent[] = []
      const { said } = judge(log)
      for (const [i, entry] of log.entries()) {
        const expected = naive(entry, accepted)
        if (said[i]?.verdict !== expected) return false
        seen.add(expected)
        if (expected === 'accepted') accepted.push(entry.event)
      }
      return true
    }),
    // A fixed seed, so that reaching every verdict is no matter of luck; the other properties take new logs each time.
    { numRuns: 3000, seed: 20_261_122 },
  )
  t.strictSame([...seen].toSorted(), ['accepted', 'conflict', 'duplicate', 'early', 'late'], 'the logs reach every verdict')
})

t.test('accepted events are numbered 1, 2, 3 … without gaps', async () => {
  fc.assert(
    fc.property(randomLog, (log) => {
      const seqs = judge(log).said.flatMap(({ seq }) => (seq === undefined ? [] : [seq]))
      return seqs.every((seq, i) => seq === i + 1)
    }),
    RUNS,
  )
})

t.test('what was not accepted changes nothing: the accepted alone are accepted again, to the same head', async (t) => {
  fc.assert(
    fc.property(randomLog, (log) => {
      const first = judge(log)
      const kept = log.filter((_, i) => first.said[i]?.verdict === 'accepted')
      const again = judge(kept)
      t.strictSame(again.memory.head, first.memory.head)
      return again.said.every(({ verdict }) => verdict === 'accepted')
    }),
    { numRuns: 300 },
  )
})

t.test('records sent twice are never accepted twice, wherever the copies land after the first', async () => {
  fc.assert(
    fc.property(randomLog, fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 10 }), (log, copies) => {
      const doubled = [...log]
      for (const [from, ahead] of copies) {
        const source = doubled[from % (doubled.length || 1)]
        if (source) doubled.splice((from % doubled.length) + 1 + (ahead % 5), 0, source)
      }
      const ids = doubled.filter((_, i) => judge(doubled).said[i]?.verdict === 'accepted').map(({ event }) => event.event_id)
      return new Set(ids).size === ids.length
    }),
    { numRuns: 300 },
  )
})

t.test('the head has ended exactly when the folded state is complete', async () => {
  fc.assert(
    fc.property(randomLog, (log) => {
      let state = initial(TENANT, EXECUTION)
      let memory: Memory = { head: BLANK_HEAD, contents: new Map() }
      for (const entry of log) {
        const next = step(entry, memory)
        if (next.said.seq !== undefined) state = applyEvent(state, { event: entry.event, seq: next.said.seq, appendedAt: entry.appendedAt })
        memory = next.memory
        if ((memory.head.phase === 'ended') !== isComplete(state)) return false
      }
      return true
    }),
    RUNS,
  )
})

t.test('folding the audit, with its computed states, gives the same as folding the records (X3)', async (t) => {
  fc.assert(
    fc.property(randomLog, (log) => {
      const { said } = judge(log)
      let live = initial(TENANT, EXECUTION)
      let audited = initial(TENANT, EXECUTION)
      for (const [i, { event, appendedAt }] of log.entries()) {
        const seq = said[i]?.seq
        if (seq === undefined) continue
        const { from, to } = computedStates(live, event)
        live = applyEvent(live, { event, seq, appendedAt })
        audited = applyEvent(audited, { event: { ...event, to_state: to }, seq, appendedAt })
        t.equal(from === live.currentState || to === live.currentState, true)
      }
      t.strictSame(audited, live)
    }),
    { numRuns: 300 },
  )
})
