// Actions whose attempts end in every way, for tests on real servers. A worker with ATTEMPTS=quick does at once what others take long
// for. REFOLD_TEST_LEDGER is the URL of the database where table `ledger` is; in it, `guarantee` is what happened.

import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'pg'
import { z } from 'zod'
import { type ActionContext, ActionFailed, defineAction, defineApp, defineWorkflow, implement, implementDatabase } from '../../index.ts'

const isQuick = process.env['ATTEMPTS'] === 'quick'
/** Longer than any test waits, s. */
const LONG = 600

let pool: Pool | undefined
const ledger = () => (pool ??= new Pool({ connectionString: process.env['REFOLD_TEST_LEDGER'], max: 4 }))
const note = ({ executionId, action, attempt }: ActionContext, what: string) =>
  ledger().query('INSERT INTO ledger (guarantee, execution, action, attempt, pid) VALUES ($1, $2, $3, $4, $5)', [
    what,
    executionId,
    action,
    attempt,
    process.pid,
  ])

const none = z.object({})
const retry = { attempts: 2, backoff: '10 ms' } as const
const impatient = { timeout: '500 ms', retry } as const
const deaf = defineAction({ name: 'deaf', parameters: z.object({ times: z.number() }), result: z.number(), ...impatient })
const brief = defineAction({ name: 'brief', parameters: none, result: z.number(), ...impatient, guarantee: 'exactly-once' })
const query = defineAction({ name: 'query', parameters: none, result: z.number(), retry, timeout: '1 h', guarantee: 'exactly-once' })
const letter = defineAction({
  name: 'letter',
  parameters: z.object({ ms: z.number().optional() }),
  result: z.number(),
  timeout: '1 h',
  guarantee: 'at-most-once',
})
const booking = defineAction({
  name: 'booking',
  parameters: z.object({ ms: z.number() }),
  result: z.number(),
  timeout: '1 h',
  guarantee: 'exactly-once',
})
const work = defineAction({ name: 'work', parameters: z.object({ ms: z.number() }), result: z.number(), timeout: '1 h' })
const charge = defineAction({ name: 'charge', parameters: z.object({ cents: z.number() }), result: z.string(), retry })
const spill = defineAction({ name: 'spill', parameters: z.object({ secret: z.string() }), result: z.number(), heartbeat: '1 min', retry })

const actions = { deaf, brief, query, letter, booking, work, charge, spill }
const input = z.object({
  action: z.enum(['deaf', 'brief', 'query', 'letter', 'booking', 'work', 'charge', 'spill']),
  parameters: z.any(),
  key: z.string().optional(),
})

/** One call; what it fails with is its result. */
const one = defineWorkflow(
  { name: 'one', version: '1', input, actions },
  async ({ input: { action, parameters, key }, actions: calls }) => {
    try {
      return { result: await calls[action](parameters, key === undefined ? {} : { key }) }
    } catch (error) {
      if (!(error instanceof ActionFailed)) throw error
      const { errorName, code, attempts } = error
      if (action === 'spill') throw error
      return { errorName, code: code ?? null, attempts }
    }
  },
)

export default defineApp({
  workflows: [one],
  implementations: [
    // Hears that it is given up, and does not end.
    implement(deaf, async (context) => {
      context.signal.addEventListener('abort', () => void note(context, 'aborted'))
      await note(context, 'begun')
      return context.attempt > context.parameters.times ? context.attempt : new Promise<never>(() => undefined)
    }),
    implementDatabase(brief, async ({ attempt, sql }) => {
      await sql.query('SELECT pg_sleep($1)', [attempt === 1 ? LONG : 0])
      return attempt
    }),
    implementDatabase(query, async (context) => {
      await note(context, 'begun')
      await context.sql.query('SELECT pg_sleep($1)', [isQuick ? 0 : LONG])
      return process.pid
    }),
    implement(letter, async (context) => {
      await note(context, 'begun')
      await pause(context.parameters.ms ?? LONG * 1000, undefined, { signal: context.signal })
      return process.pid
    }),
    // Its effect is in its transaction; that it began is told beside it.
    implementDatabase(booking, async (context) => {
      const { sql, executionId, action, attempt } = context
      await sql.query("INSERT INTO ledger (guarantee, execution, action, attempt, pid) VALUES ('booked', $1, $2, $3, $4)", [
        executionId,
        action,
        attempt,
        process.pid,
      ])
      await note(context, 'begun')
      await pause(context.parameters.ms, undefined, { signal: context.signal })
      return process.pid
    }),
    implement(work, async (context) => {
      await note(context, 'begun')
      await pause(isQuick ? 0 : context.parameters.ms, undefined, { signal: context.signal })
      return process.pid
    }),
    implement(charge, async (context) => {
      await note(context, 'begun')
      return `${context.executionId} paid ${context.parameters.cents}`
    }),
    // As a client of the target might: the request it sent is in its error.
    implement(spill, async ({ parameters, secret, heartbeat }) => {
      const key = secret(parameters.secret)
      heartbeat({ asked: `/?key=${key}` })
      throw new Error(`GET /?key=${encodeURIComponent(key)} with ${JSON.stringify({ key })}: ${key} is not known`)
    }),
  ],
})
