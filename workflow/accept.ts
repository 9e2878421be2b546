// produce → log → [accept] → recorder | runtime | projector → state
//
// The verdict on a record: a pure function of what the log said before it. Every reader that runs it over the same log
// gives the same verdicts; the recorder stores them, once, for ever. Part of the format.
//
// A1  The order of the rules is fixed: quarantined, duplicate or conflict, late, conflict or early, accepted.
// A2  Only an accepted event changes the head.
// A3  An execution's identity is (tenant, execution_id); one that is in two tenants is two executions.

import type { Decoded, QuarantineReason } from '../schemas/decoded.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { chainAfter } from './content.ts'
import { type Classified, classify } from './events.ts'
import { faultOf } from './limits.ts'
import { isTerminalState } from './names.ts'
import { partitionOf } from './partition.ts'

/** What must be known of an execution before its next record. */
export type Head = {
  /** seq of the newest accepted event. */
  readonly seq: number
  /** folded: no workflow.started yet · driven: by a workflow function · ended: nothing is accepted any more. */
  readonly phase: 'folded' | 'driven' | 'ended'
  /** Content digest (hex) of the newest accepted input; '' before the first. */
  readonly input: string
  /** Newest decision's number; 0 before the first. */
  readonly decision: number
  /** The chain the next decision must carry. */
  readonly nextChain: string
  /** Timers started, neither fired nor cancelled: decision number → fire time in ms. */
  readonly openTimers: ReadonlyMap<number, number>
}

const NO_TIMERS: ReadonlyMap<number, number> = new Map()

/** The head of an execution of which nothing was accepted. */
export const BLANK_HEAD: Head = { seq: 0, phase: 'folded', input: '', decision: 0, nextChain: '', openTimers: NO_TIMERS }

export type Quarantined = { verdict: 'quarantined'; reason: QuarantineReason; detail: string }

export type Verdict =
  | { verdict: 'accepted'; seq: number; head: Head }
  | { verdict: 'duplicate'; reason: 'same-content' | 'outcome-known'; detail: string }
  | {
      verdict: 'conflict'
      reason: 'other-content' | 'started-twice' | 'not-driven' | 'decision-number' | 'decision-chain' | 'decision-ahead'
      detail: string
    }
  | { verdict: 'late'; reason: 'ended'; detail: string }
  | { verdict: 'early'; reason: 'timer-not-due'; detail: string }
  | Quarantined

/** A verdict that needed the execution's history. */
export type Judged = Exclude<Verdict, Quarantined>

/** Where a record was found and how: all that `inspect` asks of it besides its decoded value. */
export type Found = { partition: number; key: Uint8Array | null; transactional: boolean }

const quarantined = (reason: QuarantineReason, detail: string): Quarantined => ({ verdict: 'quarantined', reason, detail })

function placeFault(event: WorkflowEvent, record: Found, partitions: number): Quarantined | undefined {
  if (record.transactional) return quarantined('transactional', 'written inside a Kafka transaction; send it without one')
  const key = record.key === null ? null : Buffer.from(record.key.buffer, record.key.byteOffset, record.key.byteLength).toString('latin1')
  if (key !== event.execution_id) return quarantined('wrong-key', 'the record key is not its execution_id')
  const right = partitionOf(event.execution_id, partitions)
  if (record.partition === right) return undefined
  return quarantined(
    'wrong-partition',
    `partition ${record.partition}, but murmur2 of the key gives ${right}: librdkafka clients must set partitioner=murmur2_random`,
  )
}

/**
 * Rule 1: everything that can be said of a record without its execution's history. `partitions` is the pinned count of
 * the topic. Gives the event with its role and content, or the quarantine.
 */
export function inspect(
  decoded: Exclude<Decoded, { state: 'schema-needed' }>,
  record: Found,
  partitions: number,
): Classified | Quarantined {
  if (decoded.state === 'unreadable') return quarantined(decoded.reason, decoded.detail)
  const fault = faultOf(decoded.event)
  if (fault) return quarantined(fault.reason, fault.detail)
  const misplaced = placeFault(decoded.event, record, partitions)
  if (misplaced) return misplaced
  const classified = classify(decoded.event)
  return 'fault' in classified ? quarantined(classified.fault.reason, classified.fault.detail) : classified
}

/** Rule 2: what is already accepted under this id, given its content digest. */
function repeated({ role, content }: Classified, known: string): Judged {
  if (known === content) return { verdict: 'duplicate', reason: 'same-content', detail: 'accepted before, with equal content' }
  if (role.kind === 'outcome' || role.kind === 'fired')
    return { verdict: 'duplicate', reason: 'outcome-known', detail: 'another outcome was accepted first; the first counts' }
  return { verdict: 'conflict', reason: 'other-content', detail: 'its id was accepted before, with other content' }
}

/** Rules 4 and 5: what does not fit the execution as it stands. */
function misfit({ event, role }: Classified, head: Head, appendedAt: number): Judged | undefined {
  if (role.kind === 'started' && head.phase === 'driven')
    return { verdict: 'conflict', reason: 'started-twice', detail: 'the execution was started before' }
  if (role.kind === 'fired') {
    const due = head.openTimers.get(role.timer)
    if (due !== undefined && appendedAt < due)
      return { verdict: 'early', reason: 'timer-not-due', detail: `timer ${role.timer} is due ${due - appendedAt} ms later` }
  }
  if (role.kind !== 'decision') return undefined
  if (head.phase !== 'driven')
    return { verdict: 'conflict', reason: 'not-driven', detail: 'a decision, but the execution has no workflow.started' }
  if (event.decision !== head.decision + 1)
    return { verdict: 'conflict', reason: 'decision-number', detail: `decision ${event.decision} after ${head.decision}` }
  if (event.decision_chain !== head.nextChain)
    return { verdict: 'conflict', reason: 'decision-chain', detail: `decision ${event.decision} was made after other decisions than these` }
  if (event.decision_seq > 0 && (event.decision_seq !== head.seq + 1 || event.decision_input !== head.input))
    return { verdict: 'conflict', reason: 'decision-ahead', detail: `decision ${event.decision} was made for other events than these` }
  return undefined
}

function phaseAfter({ event, role }: Classified, phase: 'folded' | 'driven'): Head['phase'] {
  if (event.event_name === 'workflow.terminateRequested') return 'ended'
  if (role.kind === 'started') return 'driven'
  if (phase === 'folded') return role.kind === 'outside' && isTerminalState(event.to_state) ? 'ended' : 'folded'
  return role.kind === 'decision' && ENDING.has(event.event_name) ? 'ended' : 'driven'
}

/** Decisions that end a driven execution. */
const ENDING: ReadonlySet<string> = new Set(['workflow.completed', 'workflow.failed', 'workflow.cancelled'])

function timersAfter({ role }: Classified, open: ReadonlyMap<number, number>): ReadonlyMap<number, number> {
  if (role.kind === 'fired') return without(open, role.timer)
  if (role.kind !== 'decision' || role.timer === undefined) return open
  if ('closes' in role.timer) return without(open, role.timer.closes)
  return new Map(open).set(role.timer.opens, role.timer.fireAt)
}

function without(open: ReadonlyMap<number, number>, timer: number): ReadonlyMap<number, number> {
  if (!open.has(timer)) return open
  const rest = new Map(open)
  rest.delete(timer)
  return rest
}

/**
 * Rules 2 to 6. `head` is the execution's, BLANK_HEAD if it has none; `accepted` is the content digest (hex) of the event
 * accepted under the same id in this execution, if any; `appendedAt` is the record's append time in ms.
 */
export function accept(classified: Classified, head: Head, accepted: string | undefined, appendedAt: number): Judged {
  if (accepted !== undefined) return repeated(classified, accepted)
  if (head.phase === 'ended') return { verdict: 'late', reason: 'ended', detail: 'the execution had ended' }
  const other = misfit(classified, head, appendedAt)
  if (other) return other
  const { event, role } = classified
  const isDecision = role.kind === 'decision'
  const seq = head.seq + 1
  return {
    verdict: 'accepted',
    seq,
    head: {
      seq,
      phase: phaseAfter(classified, head.phase),
      input: isDecision ? head.input : classified.content,
      decision: isDecision ? event.decision : head.decision,
      nextChain: isDecision ? chainAfter(event, classified.content) : head.nextChain,
      openTimers: timersAfter(classified, head.openTimers),
    },
  }
}
