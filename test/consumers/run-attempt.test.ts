// What one attempt of an action makes of a Postgres that is away: its ports in memory, the order of its steps as it runs.

import t from 'tap'
import { z } from 'zod'
import { defineAction } from '../../workflow/action.ts'
import { implement } from '../../workflow/app.ts'
import { attemptsOf } from '../support/attempts.ts'

const greet = defineAction({ name: 'greet', parameters: z.object({ whom: z.string() }), result: z.string() })

const scheduled = {
  name: 'greet',
  key: 'k',
  group: null,
  arguments: { whom: 'you' },
  parameters: { whom: 'you' },
  retry: { attempts: 3, backoff_ms: 1, factor: 1, max_ms: 1 },
  timeout_ms: 1000,
  guarantee: 'at-least-once',
  queue: null,
}

t.test('what an earlier attempt told cannot be read: that is no failure of this one', async (t) => {
  let away = true
  const { attempt, reported, request } = attemptsOf(
    implement(greet, async ({ parameters, progress }) => `${parameters.whom} ${String(progress)}`),
    scheduled,
    {
      async progress() {
        if (away) throw new Error('connection refused')
        return '"half"'
      },
    },
  )
  await t.rejects(attempt(request, new AbortController().signal), /refused/)
  t.strictSame(reported, [], 'it is tried again, and none of the tries that its author allows is used up')
  away = false
  t.strictSame(await attempt(request, new AbortController().signal), { state: 'reported' })
  t.strictSame(reported, [{ result: '"you half"' }])
})

t.test('a secret that was handed to an attempt is in no error and no progress of it', async (t) => {
  const told: (string | undefined)[] = []
  const { attempt, reported, request } = attemptsOf(
    implement(greet, async ({ secret, heartbeat }) => {
      const [bank, , part] = [secret('bank'), secret('pin'), secret('part')]
      heartbeat({ pages: 12, asked: [`/?key=${encodeURIComponent(bank)}`], [bank]: true })
      const message = `401 of /?key=${encodeURIComponent(bank)}: ${JSON.stringify({ bank })}, ${bank}, ${part}; 12 unread`
      throw Object.assign(new Error(message), { name: `Of ${bank}`, code: bank })
    }),
    scheduled,
    { progress: async () => undefined, tellProgress: async (_request, progress) => void told.push(progress) },
    { bank: 'p4ss"word/1', pin: '12', part: 'p4ss', other: 'unread' },
  )
  await attempt(request, new AbortController().signal)
  const [name, code] = ['Of [secret]', '[secret]']
  const message = '401 of /?key=[secret]: {"bank":"[secret]"}, [secret], [secret]; 12 unread'
  t.strictSame(
    reported,
    [{ error: { name, message, code, retryable: true } }],
    'but one too short to tell apart, and one that it did not ask for',
  )
  t.strictSame(told, ['{"pages":12,"asked":["/?key=[secret]"],"[secret]":true}'])
})

t.test('a secret that is cut off with its message is not there in part, and one that is thrown is none either', async (t) => {
  const bank = 'p4ssword-of-the-bank'
  for (const [thrown, expected] of [
    [new Error(`${'x'.repeat(3990)}${bank}`), `${'x'.repeat(3990)}[secret]`],
    [bank, '[secret]'],
  ] as const) {
    const { attempt, reported, request } = attemptsOf(
      implement(greet, async ({ secret }) => {
        secret('bank')
        throw thrown
      }),
      scheduled,
      { progress: async () => undefined },
      { bank },
    )
    await attempt(request, new AbortController().signal)
    t.strictSame(reported, [{ error: { name: 'Error', message: expected, retryable: true } }])
  }
})

t.test('a secret that is not there fails the attempt by that name', async (t) => {
  const { attempt, reported, request } = attemptsOf(
    implement(greet, async ({ secret }) => secret('bank')),
    scheduled,
    { progress: async () => undefined },
  )
  await attempt(request, new AbortController().signal)
  const message = 'no secret bank: set REFOLD_SECRET_BANK'
  t.strictSame(reported, [{ error: { name: 'SecretMissing', message, code: 'secret-missing', retryable: true } }])
})
