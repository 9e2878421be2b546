// GET …/actions and …/diagnosis over what the real recorder made of decisions and outcomes.

import t from 'tap'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { decision, event, EXECUTION, outcome, started } from '../support/events.ts'
import { recordedApi } from '../support/recorded-api.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const PARTITION = partitionOf(EXECUTION, 4)
const URL = `/v1/executions/${EXECUTION}`
const RETRY = { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 }
const APPROVED = '22222222-2222-4222-8222-222222222222'
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

const scheduled = (name: string, key: string | null = null, retry = RETRY): [string, object] => [
  'action.scheduled',
  { name, key, group: null, arguments: {}, parameters: {}, retry, timeout_ms: 1, guarantee: 'at-least-once', queue: 'q' },
]

t.test('actions', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { send, foreign, record, database } = await recordedApi(t, databaseUrl)
  const codec = createEventCodec({ schemaId: 1 })
  const append = async (...events: WorkflowEvent[]) => {
    for (const one of events) foreign({ partition: PARTITION, key: EXECUTION, value: codec.encode(one) })
    await record()
  }
  const [pay, ship, note, wait, timer, other, satisfied, retried, solo, soloFailed, end] = decisions(
    scheduled('pay', 'key-1'),
    scheduled('ship'),
    scheduled('note'),
    ['wait.started', { names: ['order.approved'], timeout_at: '2030-01-01T00:00:00.000Z' }],
    ['timer.started', { fire_at: '2030-01-01T00:00:00.000Z', purpose: 'timeout' }],
    ['wait.started', { names: ['order.shipped'] }],
    ['wait.satisfied', { wait: 4, event_id: APPROVED, event_name: 'order.approved' }],
    ['action.retried', { action: 2, attempt: 2 }],
    scheduled('solo', null, { ...RETRY, attempts: 1 }),
    ['action.failed', { action: 9, name: 'solo', error: { name: 'Refused', message: 'no such account' } }],
    ['workflow.failed', { error: { name: 'E', message: 'm' } }],
  ) as [
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
    WorkflowEvent,
  ]

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

  type Told = { cause: string; summary: string; also: string[] }
  const diagnosis = async () => (await send('a', `${URL}/diagnosis`)).json<Told>()

  t.test('a diagnosis tells of a wait while it is open, and of what its runtime has to answer', async (t) => {
    await append(wait, timer, other)
    const all = async () => {
      const { cause, summary, also } = await diagnosis()
      return [cause, summary, ...also].join('; ')
    }
    t.match(await all(), /it waits for order.approved since .*/)
    await database.admin.query(
      "INSERT INTO refold.processes (id, role, deployment, workflows, partitions) VALUES ('r', 'runtime', 'main', $1, '{0,1,2,3}')",
      [['order\n1']],
    )
    await append(event({ ...MINE, event_id: '33333333-3333-4333-8333-333333333333', event_name: 'order.forgotten' }))
    t.match(await all(), /it waits for order.approved since .*/, 'one of another name is not waited for')
    await append(event({ ...MINE, event_id: APPROVED, event_name: 'order.approved' }))
    const late = await until(async () => /order.approved, for which it waits, came at p\d:10/.test(await all()) && all(), {
      what: 'the event to be late',
    })
    t.match(late, /^runtime-behind; the failure of an attempt came at p\d:5, /, 'the oldest is the cause')
    t.match(late, /it waits for order.shipped/)
    const outside = (n: number, name: string) =>
      codec.encode(event({ ...MINE, event_id: `55555555-5555-4555-8555-${String(n).padStart(12, '0')}`, event_name: name }))
    for (let i = 0; i < 150; i++) foreign({ partition: PARTITION, key: EXECUTION, value: outside(i, 'order.approved') })
    foreign({ partition: PARTITION, key: EXECUTION, value: outside(150, 'order.shipped') })
    await record()
    t.notMatch(await all(), /it waits for/, 'many events of one name hide none of another')
    await append(satisfied)
    t.notMatch(await all(), /order.approved/, 'it was taken')
    t.notMatch(await all(), /cancel/)
    await append(event({ ...MINE, event_id: '44444444-4444-4444-8444-444444444444', event_name: 'workflow.cancelRequested' }))
    await until(async () => /the request to cancel it came at p\d:163/.test(await all()), { what: 'the cancel to be late' })
  })

  t.test('a recorder that does not move is named, and all that is read is as old', async (t) => {
    foreign({ partition: PARTITION, key: EXECUTION, value: codec.encode(event({ ...MINE, event_name: 'order.late' })) })
    t.not((await diagnosis()).cause, 'recorder-behind', 'it moved just now')
    await database.admin.query("UPDATE refold.checkpoints SET moved_at = now() - interval '1 minute' WHERE reader = 'recorder'")
    t.match(await diagnosis(), {
      cause: 'recorder-behind',
      summary: `the recorder stands at p${PARTITION}:164, 1 records behind: this answer is as old`,
      evidence: { partition: PARTITION, checkpoint: 164, logEnd: 165 },
    })
    await record()
    t.match(await diagnosis(), { cause: 'runtime-behind' })
  })

  t.test('a retry is taken for what backs off; for all else the answer says how it stands', async (t) => {
    const retry = (action: number | undefined, headers: Record<string, string> = {}) =>
      send('a', { method: 'POST', url: `${URL}/retry`, headers, payload: action === undefined ? {} : { action } })
    const refused = async (action: number | undefined, detail: RegExp) => {
      const answer = await retry(action)
      t.equal(answer.statusCode, 409)
      t.match(answer.json(), { type: 'urn:refold:problem:retry-impossible', detail, help: /backs off/, retryable: false })
    }
    const keyed = { 'idempotency-key': 'once' }
    t.equal((await retry(2, keyed)).statusCode, 202)
    await refused(1, /action 1 \(pay\) is completed/)
    await refused(3, /attempt 1 of 3 of action 3 \(note\) has no outcome yet/)
    t.match((await retry(99)).json(), { type: 'urn:refold:problem:not-found', detail: /no action 99/ })
    t.equal((await retry(undefined)).statusCode, 202, 'of all, one backs off')

    await append(retried)
    await refused(2, /attempt 2 of 3 of action 2 \(ship\) has no outcome yet/)
    t.equal((await retry(2, keyed)).statusCode, 202, 'the same request again is no new one')
    await refused(undefined, /no action backs off: attempt 2 of 3 of action 2/)

    await append(solo)
    const failure = { name: 'Refused', message: 'no such account' }
    const failedOnce = JSON.stringify({ action: 9, attempt: 1, worker: 'w1', error: failure })
    await append(outcome(9, 1, { ...MINE, event_name: 'action.attemptFailed', payload: failedOnce }))
    await refused(9, /action 9 \(solo\) has failed for good, by attempt 1 of 1.*no such account/)
    await append(soloFailed)
    await refused(9, /action 9 \(solo\) has failed for good, by attempt 1 of 1.*no such account/)

    const final = JSON.stringify({ action: 3, attempt: 1, worker: 'w1', error: { ...failure, retryable: false } })
    await append(outcome(3, 1, { ...MINE, event_name: 'action.attemptFailed', payload: final }))
    await refused(3, /action 3 \(note\) has failed for good, by attempt 1 of 3/)
  })

  t.test('what the end of the execution overtook is abandoned', async (t) => {
    await append(end)
    t.match((await send('a', `${URL}/actions`)).json(), {
      actions: [{ status: 'completed' }, { status: 'abandoned', endedAt: /Z$/ }, { status: 'abandoned' }, { status: 'failed' }],
    })
  })
})
