import t from 'tap'
import { sizeOf } from '../../kafka/send-queue.ts'
import { type AttemptOutcome, outcomeEvent } from '../../producers/inputs.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { failureOf } from '../../workflow/failures.ts'
import { checkEvent } from '../../workflow/limits.ts'

const request = {
  action_id: '33333333-3333-8333-8333-333333333333',
  tenant: '€'.repeat(128),
  execution_id: '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01',
  action: 1,
  attempt: 1,
  name: 'work',
  key: 'k',
  scheduled: '{}',
  user_id: null,
  requested_at: 0,
}
const outcome = (one: AttemptOutcome) => outcomeEvent(request, one, { worker: 'w', duration: 1, now: 1000 })
const codec = createEventCodec({ schemaId: 1 })

t.test('a result that the log cannot hold is a failure, which says why: else its execution would wait for ever', async (t) => {
  const cannot = {
    'not-storable': String.raw`"\u0000"`,
    'too-deep': `${'['.repeat(70)}${']'.repeat(70)}`,
    'too-large': `"${'x'.repeat(1_000_000)}"`,
  }
  for (const [code, result] of Object.entries(cannot)) {
    const event = outcome({ result })
    t.equal(event.event_name, 'action.attemptFailed', code)
    t.match(JSON.parse(event.payload ?? ''), { action: 1, attempt: 1, error: { name: 'ResultInvalid', code, retryable: false } })
    t.equal(checkEvent(event), undefined)
    t.equal(event.event_id, outcome({ result: '1' }).event_id, 'one an attempt')
  }
  t.equal(outcome({ result: '{"a":[1]}' }).event_name, 'action.completed')
})

t.test('no result that is taken makes a record larger than the log takes', async (t) => {
  const names = new Set<string>()
  for (let length = 990_000; length < 1_000_000; length += 97) {
    const event = outcome({ result: `"${'x'.repeat(length)}"` })
    names.add(event.event_name)
    const size = sizeOf({ topic: 't', partition: 0, key: event.execution_id, value: codec.encode(event) })
    if (size > 1_000_000) t.fail(`${length}: ${size} bytes`)
  }
  t.strictSame([...names], ['action.completed', 'action.attemptFailed'])
})

t.test('a message that is cut has no half character at its end', async (t) => {
  const error = failureOf(new Error(`${'x'.repeat(3999)}😀`))
  t.equal(checkEvent(outcome({ error })), undefined)
  t.equal(error.message.length, 4000)
})
