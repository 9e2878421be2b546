// One Idempotency-Key, one event: sent fifty times at once, after a crash on either side of the append, with other content.

import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { outcomesOf, type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const AT_ONCE = 50
const WAIT = { prefer: 'wait=60' }

const step = (key: string, changes: object = {}) => ({
  event_name: 'order.paid',
  workflow_name: 'order',
  business_key: key,
  payload: { amount: 12 },
  ...changes,
})

type Record_ = { position: string; verdict: string; seq?: number; reason?: string }
type Receipt = { verdict: string; seq?: number; reason?: string; records: Record_[] }

/** What became of an event, once the record at `position` is judged. */
async function receiptOf(rest: Rest, { event_id: event, execution_id: execution, position }: Sent): Promise<Receipt> {
  return (await rest.get(`/v1/executions/${execution}/receipts/${event}?position=${position}`, WAIT)).json() as Receipt
}

type Sent = { event_id: string; execution_id: string; position: string }
const NOTHING: Sent = { event_id: '', execution_id: '', position: '' }

t.test('one Idempotency-Key is one event', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api')
  const rest = restOf(url, 'token')
  const dying = (faults: string) =>
    startRefold(t, { ...installation, env: { ...installation.env, REFOLD_FAULTS: faults } }, 'api').then((process) => ({
      process,
      rest: restOf(process.url, 'token'),
    }))
  const [before, after] = await Promise.all([dying('api:event:appending=kill@1'), dying('api:event:appended=kill@1')])
  const sendTwice = (key: string, via: Rest = rest) =>
    via.send([step(`${key}-1`), step(`${key}-2`), step(`${key}-2`, { to_state: 'paid' })], { 'idempotency-key': key })

  const sent = { fifty: [] as Sent[], first: NOTHING, other: NOTHING, crashed: [] as Sent[] }
  await t.test('nothing is recorded yet', async (t) => {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => sendTwice('fifty')))
    t.ok(answers.every(({ status }) => status === 202))
    const ids = new Set(
      answers.map((answer) => JSON.stringify(outcomesOf(answer).map(({ event_id: event, execution_id: execution }) => [event, execution]))),
    )
    t.equal(ids.size, 1, `${AT_ONCE} answers, one set of ids`)
    t.equal(new Set(outcomesOf(answers[0]!).map(({ event_id: event }) => event)).size, 3, 'three events of one request are three')

    const first = await rest.send([step('changed')], { 'idempotency-key': 'changed' })
    const other = await rest.send([step('changed', { payload: { amount: 13 } })], { 'idempotency-key': 'changed' })
    t.equal(other.status, 202, 'other content before the first is recorded is taken')
    t.equal(outcomesOf(other)[0]?.event_id, outcomesOf(first)[0]?.event_id)

    for (const [key, { process, rest: mortal }] of Object.entries({ before, after })) {
      await t.rejects(mortal.send([step(key)], { 'idempotency-key': key }), `killed ${key} the append: no answer`)
      await process.kill()
      const again = await rest.send([step(key)], { 'idempotency-key': key })
      t.equal(again.status, 202)
      sent.crashed.push(...outcomesOf(again))
    }
    sent.fifty = outcomesOf(answers[0]!)
    sent.first = outcomesOf(first)[0]!
    sent.other = outcomesOf(other)[0]!
  })

  await startRefold(t, installation, 'recorder')

  await t.test('recorded: each event is accepted once', async (t) => {
    for (const one of sent.fifty) {
      await receiptOf(rest, one)
      const { records } = (await rest.get(`/v1/executions/${one.execution_id}/receipts/${one.event_id}`)).json() as Receipt
      const verdicts = records.map(({ verdict }) => verdict)
      t.same(verdicts, ['accepted', ...Array.from({ length: AT_ONCE - 1 }, () => 'duplicate')], `${AT_ONCE} records, one event`)
    }
    const [one, two] = sent.fifty
    const count = async (sentTo: Sent | undefined) =>
      ((await rest.get(`/v1/executions/${sentTo?.execution_id}`)).json() as { lastSeq: number }).lastSeq
    t.equal(await count(one), 1)
    t.equal(await count(two), 2)
  })

  await t.test('killed before or after the append: one event', async (t) => {
    const [appending, appended] = await Promise.all(sent.crashed.map((one) => receiptOf(rest, one)))
    t.match(
      appending,
      { verdict: 'accepted', seq: 1, records: [{ verdict: 'accepted' }] },
      'killed before: the second try is the first record',
    )
    t.match(
      appended,
      { verdict: 'duplicate', records: [{ verdict: 'accepted', seq: 1 }, { verdict: 'duplicate' }] },
      'killed after: it was in the log',
    )
  })

  await t.test('other content under the key', async (t) => {
    t.match(await receiptOf(rest, sent.first), { verdict: 'accepted', seq: 1 })
    t.match(await receiptOf(rest, sent.other), { verdict: 'conflict', reason: 'other-content' }, 'its receipt ends as conflict')
    const late = await rest.send([step('changed', { payload: { amount: 14 } })], { 'idempotency-key': 'changed' })
    t.equal(late.status, 422, 'once the first is recorded it is refused')
    t.match(late.json(), { type: 'urn:refold:problem:idempotency-conflict' })
    const same = await rest.send([step('changed')], { 'idempotency-key': 'changed', ...WAIT })
    t.match(
      same.json(),
      { appended: 1, outcomes: [{ event_id: sent.first.event_id, verdict: 'duplicate' }] },
      'the same content is a duplicate',
    )
    t.match((await rest.get(`/v1/executions/${sent.first.execution_id}`)).json(), { lastSeq: 1, data: { amount: 12 } })
  })
})
