// A runtime that hangs is named as the cause, and an execution whose history is full; on real servers.

import t from 'tap'
import { type Diagnosis, useFlows } from '../support/flows.ts'

t.setTimeout(300_000)

t.test('what a hanging runtime should have answered is told, never a wait for what is there', { timeout: 180_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, signal, ended, diagnosed, diagnosis } = flows
  const runtime = await flows.process('runtime')
  const waiting = await start('waiting', { ms: 600_000 })
  const patient = await start('waiting', { ms: 600_000 })
  const sleeping = await start('sleeping', { ms: 6000 })
  for (const id of [waiting, patient]) await diagnosed(id, 'waiting-for-event')
  await diagnosed(sleeping, 'timer')

  runtime.child.kill('SIGSTOP')
  await signal(waiting, 'go', 1)
  const alive = (one: Diagnosis) =>
    t.match(one.evidence, { runtimes: [{ id: String, seenAt: /Z$/ }], checkpoint: { next: Number }, lateMs: Number })
  const behind = await diagnosed(waiting, 'runtime-behind')
  t.match(behind.summary, /^go, for which it waits, came at p\d+:\d+/)
  t.match(behind.evidence, { event: 'go', position: /^p\d+:\d+$/, since: /Z$/ })
  t.strictSame(behind.also, [])
  alive(behind)
  const overslept = await diagnosed(sleeping, 'runtime-behind')
  t.match(overslept.evidence, { purpose: 'sleep', fireAt: /Z$/ })
  t.strictSame(overslept.also, [])
  alive(overslept)
  t.match(await diagnosis(patient), { cause: 'waiting-for-event', evidence: { names: ['go'] } }, 'nothing came for this one')

  runtime.child.kill('SIGCONT')
  t.match(await ended(waiting), { status: 'completed', result: { came: 1 } })
  t.match(await ended(sleeping), { status: 'completed' })
  await signal(patient, 'go', 2)
  t.match(await ended(patient), { result: { came: 2 } })
})

t.test('an execution with more events than are driven is told, and can be terminated', { timeout: 120_000 }, async (t) => {
  const flows = await useFlows(t)
  if (!flows) return
  const { start, signal, ended, diagnosed } = flows
  await flows.process('runtime', { FLOW_HISTORY_LIMIT: '6' })
  const id = await start('waiting', { ms: 600_000 })
  await diagnosed(id, 'waiting-for-event')
  for (let i = 0; i < 4; i++) await signal(id, 'noise')
  const full = await diagnosed(id, 'history-full')
  t.match(full, { summary: 'its history has 7 events, the most that are driven', byItself: 'nothing', evidence: { events: 7 } })
  t.equal(await flows.ask(id, 'terminate'), 202)
  t.match(await ended(id), { status: 'terminated' })
})
