// The judge of repeated effects is judged: what nothing explains is told.

import t from 'tap'
import { type Effect, effectFaults, type Happened, lackingFaults } from './repeats.ts'

const ATTEMPT = { execution: 'e', action: 1, attempt: 1 }
const [FIRST, SECOND, THIRD] = [11, 12, 13]
const effect = (pid: number, at: number): Effect & { repeatable: boolean } => ({ ...ATTEMPT, pid, at, repeatable: true })
const outcome = (pid: number, at: number) => ({ ...ATTEMPT, pid, at })
const death = (pid: number, at: number, ...roles: string[]) => ({ pid, roles: roles.length > 0 ? roles : ['worker'], at })

/** Asked for at 0, one effect at 10,000; the rest as given. */
const judged = (happened: Partial<Happened>) =>
  effectFaults({ effects: [effect(FIRST, 10_000)], outcomes: [], asked: [{ ...ATTEMPT, at: 0 }], deaths: [], lapses: [], ...happened })

const TWICE = [effect(FIRST, 10_000), effect(SECOND, 20_000)]

t.test('one effect that the log asked for is right, whoever died', async (t) => {
  t.strictSame(judged({}), [])
  t.strictSame(judged({ outcomes: [outcome(FIRST, 10_010)], deaths: [death(SECOND, 10_000)] }), [])
})

t.test('X1: a second effect after the death of who had the attempt before its outcome is right', async (t) => {
  t.strictSame(judged({ effects: TWICE, outcomes: [outcome(SECOND, 20_010)], deaths: [death(FIRST, 10_005)] }), [])
  t.strictSame(judged({ effects: TWICE, deaths: [death(FIRST, 19_000)] }), [], 'long work, and no outcome yet')
  t.strictSame(judged({ effects: TWICE, deaths: [death(FIRST, 9990)] }), [], 'its statement was on its way')
})

t.test('a second effect without a death in its window is told', async (t) => {
  const outcomes = [outcome(FIRST, 10_010)]
  t.match(judged({ effects: TWICE, outcomes }), [/effect 2 of 2: who had it before \(pid 11\) lived/])
  t.match(judged({ effects: TWICE, outcomes, deaths: [death(SECOND, 21_000), death(THIRD, 15_000)] }), [/lived/], "others' deaths")
  t.match(judged({ effects: TWICE, deaths: [death(FIRST, 25_000)] }), [/lived/], 'a death after the repeat')
  t.match(judged({ effects: TWICE, deaths: [death(FIRST, 2000)] }), [/was dead by then/], 'a death long before the effect')
  const late = judged({ effects: TWICE, outcomes, deaths: [death(FIRST, 15_000)] })
  t.match(late, [/in the log for 9990 ms, and who told it \(pid 11\) lived on/], 'a death long after the outcome')
  t.equal(late.length, 1)
})

t.test('X2: who told the outcome died before its mark', async (t) => {
  t.strictSame(judged({ effects: TWICE, outcomes: [outcome(FIRST, 10_010)], deaths: [death(FIRST, 10_020)] }), [])
  const told = { effects: TWICE, outcomes: [outcome(THIRD, 15_000)] }
  t.match(
    judged({ ...told, deaths: [death(FIRST, 10_020)] }),
    [/who told it \(pid 13\) lived on/],
    'another told it from the cache, and lives',
  )
})

t.test('each of several effects is explained by the one before it', async (t) => {
  const effects = [...TWICE, effect(THIRD, 30_000)]
  t.strictSame(judged({ effects, deaths: [death(FIRST, 10_005), death(SECOND, 20_005)] }), [])
  t.match(judged({ effects, deaths: [death(FIRST, 10_005)] }), [/effect 3 of 3: who had it before \(pid 12\) lived/])
})

t.test('X3: Redis forgot between the two, and a death had the request come again', async (t) => {
  const outcomes = [outcome(FIRST, 10_010)]
  const lapses = [{ from: 12_000, to: 12_010 }]
  t.strictSame(judged({ effects: TWICE, outcomes, lapses, deaths: [death(THIRD, 11_000, 'runtime')] }), [])
  t.match(judged({ effects: TWICE, outcomes, lapses }), [/lived/], 'nobody died')
  t.match(
    judged({ effects: TWICE, outcomes, lapses, deaths: [death(THIRD, 11_000, 'recorder')] }),
    [/lived/],
    'a recorder reads no requests',
  )
  const whole = death(THIRD, 11_000, 'recorder', 'runtime', 'worker')
  t.strictSame(judged({ effects: TWICE, outcomes, lapses, deaths: [whole] }), [], 'one that is more than a recorder does')
  const before = [{ from: 2000, to: 2010 }]
  t.match(judged({ effects: TWICE, outcomes, lapses: before, deaths: [death(THIRD, 11_000)] }), [/lived/], 'it forgot before the first')
})

t.test('an effect that the log did not ask for, or not yet, is told', async (t) => {
  t.match(judged({ asked: [] }), [/is not in the log/])
  t.match(judged({ asked: [{ ...ATTEMPT, attempt: 2, at: 0 }] }), [/is not in the log/])
  t.match(judged({ asked: [{ ...ATTEMPT, at: 10_500 }] }), [/500 ms before the log asked for it/])
})

t.test('an action that completed without an effect is told; one whose result is that of another of its key is right', async (t) => {
  const keyed = (action: number, key: string, execution = 'e') => ({ execution, action, key })
  const completed = [keyed(1, 'a'), keyed(4, 'a'), keyed(7, 'id-7')]
  t.strictSame(lackingFaults(completed, [keyed(1, 'a'), keyed(7, 'id-7'), keyed(9, 'id-9')]), [])
  t.strictSame(lackingFaults(completed, [keyed(1, 'a')]), ['action 7 of e completed without an effect'])
  t.equal(lackingFaults(completed, [keyed(1, 'a', 'other'), keyed(7, 'id-7')]).length, 2, "another execution's is not its own")
})
