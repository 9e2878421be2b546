// Random programs as an application: started with a seed, its effects written into a ledger that Refold knows nothing of.
// REFOLD_TEST_LEDGER is the URL of the database where table `ledger` is.

import { Pool } from 'pg'
import { z } from 'zod'
import { defineApp, defineWorkflow, implement, implementDatabase } from '../../index.ts'
import { doWork, exact, failed, once, programOf, run, work } from './random-workflow.ts'

export const LEDGER = `
  CREATE TABLE ledger (
    id bigserial PRIMARY KEY, guarantee text NOT NULL, execution uuid NOT NULL, action integer NOT NULL, attempt integer NOT NULL,
    pid integer NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
  GRANT ALL ON ledger TO PUBLIC; GRANT ALL ON SEQUENCE ledger_id_seq TO PUBLIC`

const NOTE = 'INSERT INTO ledger (guarantee, execution, action, attempt, pid) VALUES ($1, $2, $3, $4, $5)'

let pool: Pool | undefined
const ledger = () => (pool ??= new Pool({ connectionString: process.env['REFOLD_TEST_LEDGER'], max: 4 }))

const random = defineWorkflow(
  { name: 'random', version: '1', input: z.object({ seed: z.number() }), actions: { work, exact, once } },
  (context) => run(programOf(context.input.seed), context).catch(failed),
)

export default defineApp({
  workflows: [random],
  implementations: [
    implement(work, async ({ parameters, attempt, action, executionId, idempotencyKey }) => {
      await ledger().query(NOTE, ['at-least-once', executionId, action, attempt, process.pid])
      return doWork({ parameters, attempt, key: idempotencyKey })
    }),
    implement(once, async ({ parameters, attempt, action, executionId }) => {
      await ledger().query(NOTE, ['at-most-once', executionId, action, attempt, process.pid])
      return parameters.value
    }),
    implementDatabase(exact, async ({ parameters, attempt, action, executionId, sql }) => {
      await sql.query(NOTE, ['exactly-once', executionId, action, attempt, process.pid])
      return parameters.value
    }),
  ],
})
