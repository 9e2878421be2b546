// GET …/actions and …/diagnosis over what the real recorder made of decisions and outcomes.

import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { decision, EXECUTION, outcome, started } from '../support/events.ts'
import { recordedApi } from '../support/recorded-api.ts'
import { useStack } from '../support/stack.ts'

const PARTITION = partitionOf(EXECUTION, 4)
const URL = `/v1/executions/${EXECUTION}`
const RETRY = { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 }
const MINE = { tenant: 'tenant-a', execution_id: EXECUTION }

/** Decisions with their chain, as a runtime would append them. */
function decisions(...made: [name: string, payload: object][]): WorkflowEvent[] {
  let chain = ''
  return made.map(([name, payload], i) => {
    const one = decision(i + 1, chain, { ...MINE, event_name: name, to_state: '', payload: JSON.stringify(payload) })
    chain = nextChain(chain, contentOf(one))
    return one
  })
}

const scheduled = (name: string, key: string | null = null): [string, object] => [
  'action.scheduled',
  { name, key, group: null, arguments: {}, parameters: {}, retry: RETRY, timeout_ms: 1, guarantee: 'at-least-once', queue: 'q' },
]

t.test('actions', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { send, foreign, record } = await recordedApi(t, databaseUrl)
  const codec = createEventCodec({ schemaId: 1 })
  const append = async (...events: WorkflowEvent[]) => {
    for (const one of events) foreign({ partition: PARTITION, key: EXECUTION, value: codec.encode(one) })
    await record()
  }
  const [pay, ship, note, wait, timer, satisfied, end] = decisions(
    scheduled('pay', 'key-1'),
    scheduled('ship'),
    scheduled('note'),
    ['wait.started', { names: ['order.approved'], timeout_at: '2030-01-01T00:00:00.000Z' }],
    ['timer.started', { fire_at: '2030-01-01T00:00:00.000Z', purpose: 'timeout' }],
    ['wait.satisfied', { wait: 4, event_id: 'x', event_name: 'order.approved' }],
    ['workflow.failed', { error: { name: 'E', message: 'm' } }],
  ) as [WorkflowEvent, WorkflowEvent, WorkflowEvent, WorkflowEvent, WorkflowEvent, WorkflowEvent, WorkflowEvent]

  t.test('each has its attempts, last error and result, every digit', async (t) => {
    await append(started(MINE), pay, ship, note)
    await append(
      outcome(1, 1, {
        ...MINE,
        payload: '{"action":1,"attempt":1,"worker":"w1","result":{"sum":9007199254740993,"vat":0.1234567890123456789}}',
      }),
    )
    await append(
      outcome(2, 1, {
        ...MINE,
        event_name: 'action.attemptFailed',
        payload: '{"action":2,"attempt":1,"worker":"w2","error":{"name":"Busy","message":"full","code":"E7"}}',
      }),
    )
    const answer = await send('a', `${URL}/actions`)
    t.equal(answer.statusCode, 200)
    t.match(answer.headers['refold-watermark'], `p${PARTITION}:6`)
    t.match(answer.json(), {
      actions: [
        {
          action: 1,
          name: 'pay',
          key: 'key-1',
          queue: 'q',
          status: 'completed',
          worker: 'w1',
          attempt: 1,
          attempts: 3,
          endedAt: /Z$/,
          lastError: null,
        },
        {
          action: 2,
          name: 'ship',
          key: null,
          status: 'backing-off',
          endedAt: null,
          lastError: { name: 'Busy', message: 'full', code: 'E7' },
          result: null,
        },
        { action: 3, name: 'note', status: 'running', scheduledAt: /Z$/, requestedAt: /Z$/, worker: null },
      ],
      next: null,
    })
    t.match(answer.body, '"result":{"sum":9007199254740993,"vat":0.1234567890123456789}')
  })

  t.test('they come in pages', async (t) => {
    const first = (await send('a', `${URL}/actions?limit=2`)).json<{ actions: { action: number }[]; next: number }>()
    t.same([first.actions.map(({ action }) => action), first.next], [[1, 2], 2])
    t.match((await send('a', `${URL}/actions?limit=2&after=2`)).json(), { actions: [{ action: 3 }], next: null })
    t.equal((await send('a', `${URL}/actions?after=x`)).statusCode, 400)
  })

  t.test("another tenant's, and those of no execution, are not there; an execution without any has none", async (t) => {
    t.equal((await send('b', `${URL}/actions`)).statusCode, 404)
    const never = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a99'
    t.equal((await send('a', `/v1/executions/${never}/actions`)).statusCode, 404)
    const other = { method: 'POST' as const, url: '/v1/events', payload: [{ event_name: 'x', execution_id: never }] }
    t.equal((await send('a', other)).statusCode, 202)
    await record()
    t.same((await send('a', `/v1/executions/${never}/actions`)).json(), { actions: [], next: null })
  })

  t.test('a diagnosis tells of a wait while it is open', async (t) => {
    await append(wait, timer)
    const also = async () => (await send('a', `${URL}/diagnosis`)).json<{ also: string[] }>().also.join('; ')
    t.match(await also(), /it waits for order.approved since .*/)
    await append(satisfied)
    t.notMatch(await also(), /order.approved/)
  })

  t.test('what the end of the execution overtook is abandoned', async (t) => {
    await append(end)
    t.match((await send('a', `${URL}/actions`)).json(), {
      actions: [{ status: 'completed' }, { status: 'abandoned', endedAt: /Z$/ }, { status: 'abandoned' }],
    })
  })
})
