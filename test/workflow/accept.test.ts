import t from 'tap'
import type { Decoded } from '../../schemas/decoded.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { accept, BLANK_HEAD, type Found, type Head, inspect } from '../../workflow/accept.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { classify, type Classified, madeAhead } from '../../workflow/events.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { decision, event, EXECUTION, fired, outcome, started } from '../support/events.ts'

const PARTITIONS = 12
const NOW = 1_700_000_000_000

const decoded = (one: WorkflowEvent): Exclude<Decoded, { state: 'schema-needed' }> => ({ state: 'event', event: one })
const found = (key = EXECUTION, transactional = false): Found => ({
  partition: partitionOf(key, PARTITIONS),
  key: new TextEncoder().encode(key),
  transactional,
})

function reasonOf(one: WorkflowEvent, record = found()): string {
  const result = inspect(decoded(one), record, PARTITIONS)
  return 'verdict' in result ? result.reason : 'fine'
}

function classified(one: WorkflowEvent): Classified {
  const result = classify(one)
  if ('fault' in result) throw new Error(result.fault.detail)
  return result
}

/** Takes events one after the other and gives what was said of each, as `verdict:reason`. */
function run(events: readonly (WorkflowEvent | [WorkflowEvent, number])[], head: Head = BLANK_HEAD): { said: string[]; head: Head } {
  const contents = new Map<string, string>()
  const said: string[] = []
  for (const item of events) {
    const [one, appendedAt] = Array.isArray(item) ? item : [item, NOW]
    const subject = classified(one)
    const verdict = accept(subject, head, contents.get(one.event_id), appendedAt)
    said.push(verdict.verdict === 'accepted' ? `accepted:${verdict.seq}` : `${verdict.verdict}:${verdict.reason}`)
    if (verdict.verdict !== 'accepted') continue
    head = verdict.head
    contents.set(one.event_id, subject.content)
  }
  return { said, head }
}

const id = (n: number) => `22222222-2222-4222-8222-${String(n).padStart(12, '0')}`

t.test('rule 1: a valid event on its partition under its key is fine', async (t) => {
  t.equal(reasonOf(event()), 'fine')
  t.equal(reasonOf(started()), 'fine')
  t.equal(reasonOf(event({ event_name: 'workflow.cancelRequested' })), 'fine')
  t.equal(reasonOf(decision(1, '')), 'fine')
})

t.test('rule 1: what breaks a limit of the format is quarantined with its reason', async (t) => {
  const cases: [Partial<WorkflowEvent>, string][] = [
    [{ event_id: 'x' }, 'bad-id'],
    [{ event_id: event().event_id.replace('1', 'A') }, 'bad-id'],
    [{ execution_id: EXECUTION.toUpperCase() }, 'bad-id'],
    [{ tenant: '' }, 'bad-name'],
    [{ event_name: '' }, 'bad-name'],
    [{ tenant: 'a'.repeat(129) }, 'too-large'],
    [{ to_state: 'a\0b' }, 'not-storable'],
    [{ user_id: '\ud800' }, 'not-storable'],
    [{ payload: '{"a":"\\u0000"}' }, 'not-storable'],
    [{ payload: '{"a":"\\ud800"}' }, 'not-storable'],
    [{ payload: '{"a":"\\ud83d\\ude00"}' }, 'fine'],
    [{ payload: '{"a":' }, 'bad-payload'],
    [{ payload: '' }, 'bad-payload'],
    [{ payload: `"${'a'.repeat(1_000_000)}"` }, 'too-large'],
    [{ payload: '['.repeat(10_000) + ']'.repeat(10_000) }, 'too-deep'],
    [{ payload: '['.repeat(64) + ']'.repeat(64) }, 'fine'],
    [{ created_at: Date.UTC(300_000, 0) }, 'bad-date'],
    [{ created_at: Date.UTC(10_000, 0) }, 'bad-date'],
    [{ created_at: -62_135_596_800_000 }, 'fine'],
    [{ created_at: Number.NaN }, 'bad-date'],
    [{ decision: -1 }, 'bad-decision'],
    [{ decision_chain: 'f'.repeat(64) }, 'bad-decision'],
  ]
  for (const [changes, reason] of cases) t.equal(reasonOf(event(changes)), reason, JSON.stringify(changes).slice(0, 80))
})

t.test('rule 1: where and how it was written counts', async (t) => {
  t.equal(reasonOf(event(), found(EXECUTION, true)), 'transactional')
  t.equal(reasonOf(event(), { ...found(), key: null }), 'wrong-key')
  t.equal(reasonOf(event(), { ...found(), key: new TextEncoder().encode('other') }), 'wrong-key')
  const wrong = inspect(decoded(event()), { ...found(), partition: (found().partition + 1) % PARTITIONS }, PARTITIONS)
  t.match(wrong, { reason: 'wrong-partition', detail: /partitioner=murmur2_random/ })
})

t.test('rule 1: names and ids of ours are ours alone', async (t) => {
  t.equal(reasonOf(event({ event_id: started().event_id })), 'reserved-id', "a start's id on an outside event")
  t.equal(reasonOf(started({ event_id: id(1) })), 'reserved-id', 'a start under another id')
  t.equal(reasonOf(decision(1, '', { event_id: id(1) })), 'reserved-id')
  t.equal(reasonOf(outcome(1, 1, { event_id: outcome(1, 2).event_id })), 'reserved-id')
  t.equal(reasonOf(event({ event_name: 'action.scheduled' })), 'reserved-name', 'a decision that is none')
  t.equal(reasonOf(event({ event_name: 'workflow.unheardOf' })), 'reserved-name')
  t.equal(reasonOf(decision(1, '', { event_name: 'workflow.started' })), 'reserved-name')
  t.equal(reasonOf(outcome(1, 1, { payload: '{}' })), 'bad-payload')
  t.equal(reasonOf(decision(1, '', { event_name: 'timer.started', payload: '{"fire_at":"soon"}' })), 'bad-payload')
})

t.test('rule 2: the same id with equal content is a duplicate, with other content a conflict', async (t) => {
  const first = event({ payload: '{"a":1}' })
  const { said } = run([
    first,
    { ...first, created_at: 1, user_id: 'x', causation_id: 'y', correlation_id: 'z' },
    { ...first, payload: '{"a":2}' },
  ])
  t.strictSame(said, ['accepted:1', 'duplicate:same-content', 'conflict:other-content'])
})

t.test('rule 2: of the outcomes of an attempt, and of a timer, the first counts', async (t) => {
  const failed = outcome(1, 1, { event_name: 'action.attemptFailed', payload: '{"action":1,"attempt":1,"error":"x"}' })
  const { said } = run([started(), outcome(1, 1), failed, outcome(1, 2), fired(9), fired(9, { payload: '{"timer_id":9,"x":1}' })])
  t.strictSame(said, ['accepted:1', 'accepted:2', 'duplicate:outcome-known', 'accepted:3', 'accepted:4', 'duplicate:outcome-known'])
})

t.test('rule 2 comes before rule 3: a repeated event of an ended execution is a duplicate', async (t) => {
  const first = event()
  const end = event({ event_id: id(2), to_state: 'completed' })
  t.strictSame(run([first, end, first, event({ event_id: id(3) })]).said, [
    'accepted:1',
    'accepted:2',
    'duplicate:same-content',
    'late:ended',
  ])
})

t.test('rule 3: each terminal state ends a folded execution, terminateRequested any', async (t) => {
  for (const state of ['completed', 'failed', 'cancelled', 'terminated']) {
    t.strictSame(run([event({ to_state: state }), event({ event_id: id(2) })]).said, ['accepted:1', 'late:ended'])
  }
  const terminate = event({ event_id: id(1), event_name: 'workflow.terminateRequested' })
  t.strictSame(run([started(), terminate, event()]).said, ['accepted:1', 'accepted:2', 'late:ended'])
  t.strictSame(run([started(), event({ to_state: 'completed' }), event({ event_id: id(2) })]).said, [
    'accepted:1',
    'accepted:2',
    'accepted:3',
  ])
})

t.test('rule 4: a timer that fires before its time is early, and may fire again when due', async (t) => {
  const timer = decision(1, '', { event_name: 'timer.started', payload: JSON.stringify({ fire_at: new Date(NOW + 1000).toISOString() }) })
  const { said, head } = run([started(), timer, [fired(1), NOW + 999], [fired(1), NOW + 1000]])
  t.strictSame(said, ['accepted:1', 'accepted:2', 'early:timer-not-due', 'accepted:3'])
  t.equal(head.openTimers.size, 0)
})

t.test('rule 4: an execution is started once', async (t) => {
  const other = started({ payload: '{"workflow_name":"other","workflow_version":"2"}' })
  t.strictSame(run([started(), started(), other]).said, ['accepted:1', 'duplicate:same-content', 'conflict:other-content'])
  const head: Head = { ...BLANK_HEAD, seq: 4, phase: 'driven' }
  t.strictSame(run([started()], head).said, ['conflict:started-twice'])
})

t.test('rule 5: decisions come in order, each chained to the one before', async (t) => {
  const first = decision(1, '')
  const chain = nextChain('', contentOf(first))
  const second = decision(2, chain)
  t.strictSame(run([started(), first, second]).said, ['accepted:1', 'accepted:2', 'accepted:3'])
  t.strictSame(run([started(), second]).said, ['accepted:1', 'conflict:decision-number'])
  t.strictSame(run([started(), first, decision(2, 'f'.repeat(64))]).said, ['accepted:1', 'accepted:2', 'conflict:decision-chain'])
  t.strictSame(run([started(), decision(1, '', { to_state: 'other' }), second]).said, [
    'accepted:1',
    'accepted:2',
    'conflict:decision-chain',
  ])
  t.strictSame(run([first]).said, ['conflict:not-driven'])
})

t.test('rule 5: a decision made ahead stands only as the event it says, on the input it says', async (t) => {
  const input = contentOf(outcome(1, 1))
  const first = madeAhead(decision(1, ''), 3, input)
  const second = madeAhead(decision(2, nextChain('', contentOf(first))), 4, input)
  const third = { ...second, decision_seq: 0, decision_input: '' }
  t.strictSame(run([started(), outcome(1, 1), first, second]).said, ['accepted:1', 'accepted:2', 'accepted:3', 'accepted:4'])
  const other = event({ event_id: id(1) })
  t.strictSame(
    run([started(), other, outcome(1, 1), first, second]).said.slice(2),
    ['accepted:3', 'conflict:decision-ahead', 'conflict:decision-number'],
    'another event came first',
  )
  t.strictSame(run([started(), other, first]).said.at(-1), 'conflict:decision-ahead', 'the seq is right, but not its input')
  const stranger = outcome(1, 1, { payload: JSON.stringify({ action: 1, attempt: 1, name: 'reserve', result: 2 }) })
  t.strictSame(
    run([started(), stranger, outcome(1, 1), first]).said.slice(2),
    ['duplicate:outcome-known', 'conflict:decision-ahead'],
    'another outcome of the attempt came first',
  )
  t.equal(run([started(), outcome(1, 1), first, other, second]).said.at(-1), 'conflict:decision-ahead', 'another event came between')
  t.equal(run([started(), outcome(1, 1), first, other, third]).said.at(-1), 'accepted:5', 'what was refused is appended again')
  const again = { ...first, decision_seq: 0, decision_input: '' }
  t.strictSame(
    run([started(), outcome(1, 1), first, outcome(1, 1), first, again]).said.slice(3),
    Array.from({ length: 3 }, () => 'duplicate:same-content'),
    'appended twice, as after an answer that was lost',
  )
  t.equal(reasonOf(event({ decision_seq: 2, decision_input: input })), 'bad-decision', 'it is of decisions')
  for (const [decision_seq, decision_input] of [
    [-1, input],
    [2, ''],
    [0, input],
    [2, 'x'],
  ] as const)
    t.equal(reasonOf(decision(1, '', { decision_seq, decision_input })), 'bad-decision')
})

t.test('the content of action.scheduled leaves out what only its defaults say', async (t) => {
  const scheduled = (payload: object) => contentOf(decision(1, '', { event_name: 'action.scheduled', payload: JSON.stringify(payload) }))
  const base = { name: 'pay', key: 'k', group: null, arguments: { sum: 1 } }
  t.equal(scheduled({ ...base, timeout: 30 }), scheduled({ timeout: 60, retry: { attempts: 9 }, parameters: {}, ...base }))
  t.not(scheduled(base), scheduled({ ...base, arguments: { sum: 2 } }))
  t.not(scheduled(base), scheduled({ ...base, key: 'other' }))
})
