// Schemas whose output is not their input, on both sides of the log: what a worker hands to its implementation, and what the kit does.

import t from 'tap'
import { z } from 'zod'
import { defineAction, defineWorkflow, implement } from '../../index.ts'
import { replayHistory, runWorkflow, tryAll } from '../../testing/index.ts'
import type { AttemptOutcome } from '../../producers/inputs.ts'
import { attemptsOf } from '../support/attempts.ts'
import type { Action } from '../../index.ts'

const when = z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() })

/** The parameters that an implementation and a fake get, and the outcome that the worker reports. */
async function called(parameters: z.ZodType, given: unknown) {
  const action = defineAction({ name: 'act', parameters, result: z.unknown(), retry: { attempts: 1 } })
  const seen: unknown[] = []
  const workflow = defineWorkflow({ name: 'w', version: '1', actions: { act: action } }, async ({ actions }) => actions.act(given))
  const run = await runWorkflow(workflow, { actions: { act: ({ parameters: got }) => void seen.push(got) } })
  const scheduled = run.history.find(({ event }) => event.event_name === 'action.scheduled')?.event.payload ?? ''
  const outcome = await worked(action, async (got) => void seen.push(got), scheduled)
  return { seen, outcome, written: (JSON.parse(scheduled) as { parameters: unknown }).parameters, error: run.state.error }
}

async function worked(action: Action, run: (parameters: unknown) => Promise<unknown>, scheduled: string): Promise<AttemptOutcome> {
  const { attempt, reported, request } = attemptsOf(
    implement(action, async ({ parameters }) => run(parameters)),
    JSON.parse(scheduled) as object,
  )
  await attempt(request, new AbortController().signal)
  return reported[0]!
}

t.test('parameters go through the log, and are parsed once on their way to the implementation', async (t) => {
  const at = new Date(0)
  const cases: [string, z.ZodType, given: unknown, got: unknown, written: unknown][] = [
    ['a default is what it was at the call', z.object({ n: z.number().default(3) }), {}, { n: 3 }, { n: 3 }],
    ['a transform to another type', z.object({ n: z.string().transform((s) => s.length) }), { n: 'abc' }, { n: 3 }, { n: 'abc' }],
    ['a transform that adds each time', z.object({ s: z.string().transform((s) => `${s}!`) }), { s: 'a' }, { s: 'a!' }, { s: 'a' }],
    ['a transform that settles', z.object({ s: z.string().trim() }), { s: ' a ' }, { s: 'a' }, { s: 'a' }],
    ['one that throws over its output', z.any().transform((s: string) => s.split(',')), 'a,b', ['a', 'b'], 'a,b'],
    ['a time that is text', z.object({ at: z.coerce.date() }), { at }, { at }, { at: at.toISOString() }],
    ['a codec', z.object({ at: when }), { at: at.toISOString() }, { at }, { at: at.toISOString() }],
    ['what is left out', z.object({ a: z.string().optional() }), { a: undefined }, {}, {}],
  ]
  for (const [title, schema, given, got, written] of cases) {
    const call = await called(schema, given)
    t.strictSame(call.seen, [got, got], title)
    t.strictSame(call.written, written, title)
    t.strictSame(call.outcome, { result: 'null' }, title)
  }
})

t.test('a schema that does not take its own parameters from the log fails the action at once and says what to do', async (t) => {
  const { seen, outcome, error } = await called(z.object({ at: z.date() }), { at: new Date(0) })
  const message = /^act: at: Invalid input: expected date, received string; parameters go through the log as JSON.*z\.coerce\.date\(\)/
  t.strictSame(seen, [])
  t.match(outcome, { error: { name: 'ParametersInvalid', code: 'contract', message, retryable: false } })
  t.match(error, { name: 'ActionFailed', message: /act: at: Invalid input: expected date.*z\.coerce\.date\(\)/ }, 'in the kit as well')
})

t.test('a result that is not the contract’s fails at once, from a fake as from a worker', async (t) => {
  const greet = defineAction({ name: 'greet', parameters: z.object({}), result: z.object({ text: z.string() }) })
  const greeting = defineWorkflow({ name: 'greeting', version: '1', actions: { greet } }, async ({ actions }) => actions.greet({}))
  const run = await runWorkflow(greeting, { actions: { greet: () => ({ text: 5 }) } })
  const failure = { name: 'ResultInvalid', code: 'contract', message: 'greet: text: Invalid input: expected string, received number' }
  t.match(run.state, { status: 'failed', error: { name: 'ActionFailed', message: new RegExp(failure.message) } })
  t.equal(run.attempts.get('greet'), 1)
  const payloadOf = (name: string) => run.history.find(({ event }) => event.event_name === name)?.event.payload ?? '{}'
  t.match(JSON.parse(payloadOf('action.attemptFailed')), { error: { ...failure, retryable: false } })
  const outcome = await worked(greet, async () => ({ text: 5 }), payloadOf('action.scheduled'))
  t.strictSame(outcome, { error: { ...failure, retryable: false } }, 'the very same')
  await t.resolves(tryAll(greeting, { actions: { greet: () => ({ text: 5 }) } }), 'in all of its ways')
})

t.test('a result is what the log holds of it, in type and in value', async (t) => {
  const look = defineAction({
    name: 'look',
    parameters: z.object({}),
    result: z.object({ at: z.date(), length: z.string().transform((s) => s.length), note: z.string().optional() }),
  })
  const none = defineAction({ name: 'none', parameters: z.object({}), result: z.string().optional() })
  const looking = defineWorkflow({ name: 'looking', version: '1', actions: { look, none } }, async ({ actions }) => {
    const { at, length, note } = await actions.look({})
    const text: string = at
    const number: number = length
    const maybe: string | undefined = note
    // @ts-expect-error -- the log holds JSON: a date is text there
    const wrong = () => at.getTime()
    const nothing: string | null = await actions.none({})
    return { text, number, maybe, nothing, wrong: typeof wrong, time: new Date(at).getTime() }
  })
  const run = await tryAll(looking, { actions: { look: () => ({ at: new Date(5), length: 'abc' }), none: () => undefined } })
  t.match(run.state.result, { text: '1970-01-01T00:00:00.005Z', number: 3, nothing: null, time: 5 })
})

t.test('what histories hold goes on to fit: what is written as parameters is no part of a decision', async (t) => {
  const size = defineAction({ name: 'size', parameters: z.string().transform((s) => s.length), result: z.number() })
  const sizing = defineWorkflow({ name: 'sizing', version: '1', actions: { size } }, async ({ actions }) => actions.size('abc'))
  const { history } = await runWorkflow(sizing, { actions: { size: ({ parameters }) => parameters } })
  // As it was written before: the output of the schema.
  const older = history.map((fed) => {
    const payload = fed.event.payload?.replace('"parameters":"abc"', '"parameters":3') ?? null
    return { ...fed, event: { ...fed.event, payload } }
  })
  t.not(JSON.stringify(older), JSON.stringify(history))
  t.equal(await replayHistory(sizing, older), undefined)
})
