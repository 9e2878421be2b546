import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { applyEvent, type ExecutionState, initial } from '../../workflow/execution.ts'
import { decision, event, EXECUTION, outcome, started, TENANT } from '../support/events.ts'

function fold(events: readonly WorkflowEvent[]): ExecutionState {
  let state = initial(TENANT, EXECUTION)
  for (const [i, one] of events.entries()) state = applyEvent(state, { event: one, seq: i + 1, appendedAt: 1000 + i })
  return state
}

t.test('an execution begins as initial, with no data', async (t) => {
  t.match(initial(TENANT, EXECUTION), { currentState: 'initial', data: {}, status: 'running', seq: 0 })
})

t.test('without a function, to_state moves the state and payload objects merge into data', async (t) => {
  const state = fold([
    event({ to_state: 'received', payload: '{"a":1,"b":{"x":1}}', workflow_name: 'permit', business_key: 'case-1', correlation_id: 'c' }),
    event({ payload: '{"b":{"y":2}}' }),
    event({ to_state: 'checked', payload: '[1]' }),
    event({ payload: '7', workflow_name: 'other', business_key: 'other' }),
  ])
  t.match(state, { currentState: 'checked', status: 'running', workflow: 'permit', key: 'case-1', correlationId: 'c', seq: 4 })
  t.strictSame(state.data, { a: 1, b: { y: 2 } })
  t.equal(state.openedAt, 1000)
  t.equal(state.changedAt, 1003)
})

t.test('without a function, a terminal to_state ends it', async (t) => {
  t.match(fold([event({ to_state: 'cancelled' })]), { currentState: 'cancelled', status: 'cancelled' })
})

t.test('numbers in data keep every digit', async (t) => {
  const { data } = fold([event({ payload: '{"big":9007199254740993}' }), event({ payload: '{"small":0.1234567890123456789}' })])
  t.equal(JSON.stringify(data), '{"big":9007199254740993,"small":0.1234567890123456789}')
})

t.test('workflow.started makes it driven: state and data start anew', async (t) => {
  const state = fold([event({ to_state: 'received', payload: '{"a":1}' }), started()])
  t.match(state, { mode: 'driven', currentState: 'initial', workflow: 'order', version: '1', key: 'o-1' })
  t.strictSame(state.data, {})
})

t.test('driven: outside payloads touch neither data nor state, decisions do', async (t) => {
  const state = fold([
    started(),
    event({ to_state: 'completed', payload: '{"a":1}' }),
    decision(1, '', { to_state: 'reserving' }),
    decision(2, '', { event_name: 'workflow.dataUpdated', to_state: '', payload: '{"b":2}' }),
    outcome(3, 1),
  ])
  t.match(state, { currentState: 'reserving', status: 'running' })
  t.strictSame(state.data, { b: 2, $actions: { reserve: 1 } })
})

t.test('driven: pause, resume, cancel and terminate', async (t) => {
  const request = (name: string) => event({ event_name: `workflow.${name}Requested` })
  t.equal(fold([started(), request('pause')]).status, 'paused')
  t.equal(fold([started(), request('pause'), request('resume')]).status, 'running')
  t.equal(fold([started(), request('pause'), request('cancel')]).status, 'running', 'cancel implies resume')
  t.equal(fold([started(), request('pause'), request('terminate')]).status, 'terminated')
  t.match(fold([event({ to_state: 'open' }), request('pause')]), { status: 'running', currentState: 'open', data: {} }, 'nothing to pause')
})

t.test('driven: the last decision ends it with a result or an error', async (t) => {
  t.match(fold([started(), decision(1, '', { event_name: 'workflow.completed', payload: '{"result":{"n":1}}' })]), {
    status: 'completed',
    result: { n: 1 },
  })
  t.match(fold([started(), decision(1, '', { event_name: 'workflow.failed', payload: '{"error":{"message":"m"}}' })]), {
    status: 'failed',
    error: { message: 'm' },
  })
})

t.test('a seq out of order is refused', async (t) => {
  t.throws(() => applyEvent(initial(TENANT, EXECUTION), { event: event(), seq: 2, appendedAt: 0 }), /cannot follow 0/)
})
