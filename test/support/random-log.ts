// Random histories of one execution for property tests: valid and invalid moves mixed, ids that repeat, time that stands still.

import fc from 'fast-check'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { madeAhead } from '../../workflow/events.ts'
import { decision, event, fired, outcome, started } from './events.ts'

export type Entry = { event: WorkflowEvent; appendedAt: number }

const START = 1_700_000_000_000
const STATES = ['', 'open', 'checked', 'completed', 'failed', 'terminated']
const id = (n: number) => `33333333-3333-4333-8333-${String(n).padStart(12, '0')}`

type Move =
  | { move: 'outside'; id: number; to: string; value: number }
  | { move: 'request'; id: number; name: string }
  | { move: 'start'; version: number }
  | { move: 'outcome'; action: number; attempt: number; failed: boolean }
  | { move: 'fire'; timer: number }
  | { move: 'decide'; skip: number; spoil: boolean; seq: number | null; name: string; timer: number; value: number }
  | { move: 'repeat'; back: number }

const nat = (max: number) => fc.nat({ max })

const moves: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ move: fc.constant('outside' as const), id: nat(12), to: fc.constantFrom(...STATES), value: nat(3) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      move: fc.constant('request' as const),
      id: fc.integer({ min: 20, max: 24 }),
      name: fc.constantFrom('cancel', 'pause', 'resume', 'terminate', 'retry'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ move: fc.constant('start' as const), version: nat(1) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      move: fc.constant('outcome' as const),
      action: fc.integer({ min: 1, max: 3 }),
      attempt: fc.integer({ min: 1, max: 2 }),
      failed: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ move: fc.constant('fire' as const), timer: fc.integer({ min: 1, max: 4 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      move: fc.constant('decide' as const),
      skip: fc.constantFrom(0, 0, 0, 0, 1),
      spoil: fc.constantFrom(false, false, false, false, true),
      seq: fc.constantFrom(null, null, null, null, null, 0, 1, 2),
      name: fc.constantFrom(
        'workflow.stateChanged',
        'workflow.dataUpdated',
        'timer.started',
        'timer.cancelled',
        'action.scheduled',
        'action.retried',
        'action.failed',
        'action.cancelled',
        'wait.started',
        'wait.satisfied',
        'workflow.completed',
        'order.noted',
      ),
      timer: fc.integer({ min: 1, max: 4 }),
      value: nat(3),
    }),
  },
  { weight: 3, arbitrary: fc.record({ move: fc.constant('repeat' as const), back: nat(8) }) },
)

const json = (value: unknown) => JSON.stringify(value)

type Decide = Extract<Move, { move: 'decide' }>

function decisionPayload({ name, timer, value }: Decide, now: number): object {
  switch (name) {
    case 'timer.started':
      return { fire_at: new Date(now + value * 60).toISOString(), purpose: value === 1 ? 'timeout' : 'retry', action: timer }
    case 'timer.cancelled':
      return { timer_id: timer }
    case 'action.scheduled': {
      const retry = { attempts: value + 1, backoff_ms: 1, factor: 1, max_ms: 1 }
      return {
        name: `a${value}`,
        key: null,
        group: null,
        arguments: {},
        parameters: {},
        retry,
        timeout_ms: 1,
        guarantee: 'at-least-once',
        queue: null,
      }
    }
    case 'action.retried':
    case 'action.failed':
    case 'action.cancelled':
      return { action: timer, attempt: 2, name: 'a', ...(value === 1 ? { error: { name: 'E', message: 'm' } } : {}) }
    case 'wait.started':
      return { names: ['order.noted'] }
    case 'wait.satisfied':
      return { wait: timer, event_id: id(value), event_name: 'order.noted' }
    default:
      return { value, result: value }
  }
}

function decide(move: Decide, made: readonly WorkflowEvent[], now: number): WorkflowEvent {
  const before = made.at(-1)
  const n = made.length + 1 + move.skip
  const chain = before ? nextChain(before.decision_chain, contentOf(before)) : ''
  const payload = decisionPayload(move, now)
  return decision(n, move.spoil ? 'f'.repeat(64) : chain, { event_name: move.name, to_state: `s${move.value}`, payload: json(payload) })
}

/** A log of one execution: up to 40 records with their append times (ms, never falling). */
export const randomLog: fc.Arbitrary<Entry[]> = randomLogOf(0, 40)

export function randomLogOf(minLength: number, maxLength: number): fc.Arbitrary<Entry[]> {
  return fc.array(fc.tuple(moves, nat(30)), { minLength, maxLength }).map(build)
}

function build(steps: readonly [Move, number][]): Entry[] {
  const log: Entry[] = []
  const decisions: WorkflowEvent[] = []
  let now = START
  const eventOf = (move: Move): WorkflowEvent => {
    switch (move.move) {
      case 'outside':
        return event({
          event_id: id(move.id),
          to_state: move.to,
          payload: move.value === 0 ? null : json({ value: move.value, [`k${move.id}`]: 1 }),
        })
      case 'request':
        return event({ event_id: id(move.id), event_name: `workflow.${move.name}Requested`, payload: '{"reason":"r"}' })
      case 'start':
        return started({ payload: json({ workflow_name: 'order', workflow_version: String(move.version), key: 'k' }) })
      case 'outcome':
        return outcome(move.action, move.attempt, {
          event_name: move.failed ? 'action.attemptFailed' : 'action.completed',
          payload: json({ action: move.action, attempt: move.attempt, name: 'pay', result: move.attempt }),
        })
      case 'fire':
        return fired(move.timer)
      case 'decide': {
        // Right only while few were refused.
        const input = log.findLast((one) => one.event.decision === 0)
        const ahead = move.seq !== null && input ? Math.max(0, log.length + 1 - move.seq) : 0
        const plain = decide(move, decisions, now)
        const made = ahead > 0 && input ? madeAhead(plain, ahead, contentOf(input.event)) : plain
        if (move.skip === 0 && !move.spoil) decisions.push(made)
        return made
      }
      case 'repeat':
        return log.at(-1 - (move.back % (log.length || 1)))?.event ?? event({ event_id: id(0) })
      default:
        return move satisfies never
    }
  }
  for (const [move, passed] of steps) {
    const made = eventOf(move)
    log.push({ event: { ...made, created_at: now - ((passed * 7) % 50) }, appendedAt: now })
    now += passed
  }
  return log
}
