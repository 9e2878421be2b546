import t from 'tap'
import {
  decisionIdOf,
  eventIdOf,
  executionIdOf,
  firedIdOf,
  isOwnId,
  isUuid,
  NAMESPACE,
  newId,
  outcomeIdOf,
  startIdOf,
} from '../../workflow/ids.ts'

const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'

t.test('ids keep their published vectors', async (t) => {
  t.equal(NAMESPACE, '7d48d971-6f46-5f2d-8be2-d36e6676a0df')
  t.equal(executionIdOf('demo', 'permit', 'case-1'), '1a9e5c33-e535-5562-99a2-b965f49dd5a2')
  t.equal(eventIdOf('demo', EXECUTION, 'row-1', 0), '722eb5f5-0d58-50c9-be5e-26563e146b2a')
  t.equal(startIdOf('demo', EXECUTION), '6974a2a2-0884-804a-addc-b036d19eb5d7')
  t.equal(decisionIdOf('demo', EXECUTION, 1), 'd11ef699-5af1-8b14-915e-56cb28748910')
  t.equal(outcomeIdOf('demo', EXECUTION, 1, 1), '42da142c-5723-87a4-975a-f35434f7f220')
  t.equal(firedIdOf('demo', EXECUTION, 1), '0fc058ad-bedd-8c92-a617-a8ce05f74b71')
})

t.test('words that run together differently give different ids', async (t) => {
  t.not(executionIdOf('a', 'bc', 'd'), executionIdOf('ab', 'c', 'd'))
  t.not(outcomeIdOf('demo', EXECUTION, 1, 11), outcomeIdOf('demo', EXECUTION, 11, 1))
})

t.test('ids of ours can be told from all others', async (t) => {
  for (const id of [startIdOf('demo', EXECUTION), decisionIdOf('demo', EXECUTION, 3), firedIdOf('demo', EXECUTION, 3)]) {
    t.ok(isUuid(id))
    t.ok(isOwnId(id))
    t.match(id.charAt(19), /[89ab]/, 'RFC 9562 variant')
  }
  for (const id of [executionIdOf('demo', 'permit', '1'), eventIdOf('demo', EXECUTION, '1', 0), newId()]) {
    t.ok(isUuid(id))
    t.notOk(isOwnId(id))
  }
})

t.test('only lower-case UUIDs are ids', async (t) => {
  t.notOk(isUuid(EXECUTION.toUpperCase()))
  t.notOk(isUuid(`${EXECUTION}0`))
  t.notOk(isUuid('not-a-uuid'))
})
