// What was decided ahead of an outcome, and then goes wrong (decision 0015, F3): a runtime and a recorder on a log in memory.

import t from 'tap'
import { newId } from '../../workflow/ids.ts'
import { event } from '../support/events.ts'
import { openExecution, type Step } from '../support/one-execution.ts'

const three: Step = async ({ actions }) => {
  let value = 0
  for (let step = 0; step < 3; step++) value = await actions.next({ after: value })
  return value
}

t.test('the answer to the append is lost, and so is Postgres: the memory goes on with the outcome that it foresaw', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  const written = Promise.withResolvers<void>()
  one.away.times = 1
  // Written, later than its caller was told that it may not be.
  one.meanwhile(() => {
    void written.promise.then(() => one.others.append(one.ended(first, { result: '5' })))
    return Promise.reject(new Error('no answer'))
  })
  await t.rejects(one.tell(first, 5), /no answer/)
  await one.until(() => (one.away.times === 0 ? true : undefined), 'Postgres to be asked')
  written.resolve()
  const second = await one.request(2)
  t.match(JSON.parse(second.scheduled), { arguments: { after: 5 } })
  await one.tell(second, 6)
  await one.tell(await one.request(3), 7)
  await one.over()
  t.match(one.state(), { status: 'completed', result: 7 })
})

t.test('an outcome that the log will quarantine is not followed: the checkpoint passes it', async (t) => {
  const one = await openExecution(t, three, { eager: true })
  const first = await one.request(1)
  await one.tellText(first, String.raw`"\u0000"`)
  const end = await one.end()
  await one.until(() => (one.saved.next >= end ? true : undefined), 'the checkpoint to pass it')
  // What comes behind it is passed too: all that follows from it would be there by then.
  await one.others.append(event({ tenant: one.tenant, execution_id: one.executionId, event_id: newId() }))
  await one.until(() => (one.saved.next > end ? true : undefined), 'the checkpoint to pass another event')
  t.equal(await one.end(), 4, 'nothing follows from it')
  t.equal(one.requested(), 1)
  await one.ask('workflow.cancelRequested')
  await one.over()
  t.match(one.state(), { status: 'cancelled' })
})

t.test('an outcome that the log does not take is not followed each time that it is tried again', async (t) => {
  const one = await openExecution(t, three)
  const first = await one.request(1)
  const large = `"${'x'.repeat(999_800)}"`
  for (let n = 0; n < 3; n++) {
    await t.rejects(one.tellText(first, large), { code: 'log-append-too-large' })
    await one.until(() => (one.happened.inVain > 0 ? true : undefined), 'its memory to be made anew')
  }
  t.equal(await one.end(), 3, 'once, since nobody knew')
})
