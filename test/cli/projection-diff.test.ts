// `refold projection diff`, against an HTTP server that answers as the API does, and the read behind its question.

import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createReadPool } from '../../postgres/reads/pool.ts'
import { readOperations } from '../../postgres/reads/projections.ts'
import { useDatabase } from '../support/database.ts'
import { useStack } from '../support/stack.ts'

const MAIN = path.join(import.meta.dirname, '../../cli/main.ts')
const run = promisify(execFile)

const operationWith = (differing: number, shown: number) => ({
  id: 'o1',
  projection: 'cases',
  kind: 'rebuild',
  generation: 2,
  state: 'ready',
  reason: '',
  progress: {},
  comparison: {
    differing,
    partitions: [
      {
        partition: 0,
        at: 9,
        live: 500,
        built: 500,
        differing,
        shown: Array.from({ length: shown }, (_, i) => ({ table: 'cases', kind: 'changed', key: { tenant: 'a', id: `k${i}` } })),
      },
    ],
  },
  log: [],
  wanted: null,
  requestedAt: '',
  endedAt: null,
})

const PROJECTION = {
  name: 'cases',
  version: 1,
  liveGeneration: 1,
  previousGeneration: null,
  stoppedAt: null,
  generations: [1, 2].map((generation) => ({ generation, version: 1, state: '', madeAt: '', parked: [] })),
  lag: 0,
  watermark: '',
  parked: [],
  tables: [{ name: 'cases', key: ['id'], columns: { id: 'text', facts: 'json' }, view: 'rows' }],
  operation: 'o1',
  foldedBy: 1,
}

/** The commands print for a person where there is a terminal. */
const TERMINAL = 'data:text/javascript,process.stdout.isTTY = true; process.stdout.columns = 500'

async function diff(t: Test, operation: object): Promise<{ stdout: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer(({ url = '' }, response) => {
    asked.push(url)
    const body = url.startsWith('/v1/operations') ? { operations: [operation] } : PROJECTION
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const env = { ...process.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'secret' }
  const { stdout } = await run(process.execPath, ['--import', TERMINAL, MAIN, 'projection', 'diff', 'cases'], { env })
  return { stdout, asked }
}

t.test("asks for the projection's own operations", async (t) => {
  const { stdout, asked } = await diff(t, operationWith(2, 2))
  t.equal(asked[0], '/v1/operations?limit=200&projection=cases')
  t.match(stdout, /"id":"k1"/)
  t.notMatch(stdout, /more/)
})

t.test('says how many more keys differ than are shown, and how to see them', async (t) => {
  const { stdout } = await diff(t, operationWith(312, 100))
  t.match(stdout, /"id":"k99"/)
  t.match(stdout, /and 212 more: at most 100 of a partition are kept\.\nIn SQL, those of rows as they are now:/)
  t.match(
    stdout,
    'SELECT tenant, partition, "id", "facts"::jsonb FROM "refold_p_cases_g2"."cases" EXCEPT SELECT tenant, partition, "id", "facts"::jsonb FROM "refold_p_cases_g1"."cases"',
  )
  t.match(stdout, 'FROM "refold_p_cases_g1"."cases" EXCEPT')
})

t.test('where no key is shown, says to whom they are', async (t) => {
  t.match((await diff(t, operationWith(312, 0))).stdout, /keys are shown to operators only/)
})

t.test("operations are read of one projection, however many others' are newer", async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { admin, url } = await useDatabase(t, databaseUrl)
  await admin.query(`
    INSERT INTO refold.projections (name, version) VALUES ('cases', 1), ('other', 1);
    INSERT INTO refold.operations (projection, kind, state, reason, requested_at, ended_at)
    SELECT CASE n WHEN 0 THEN 'cases' ELSE 'other' END, 'rebuild', 'done', '', now() + n * interval '1 s', now() FROM generate_series(0, 5) n`)
  const pool = createReadPool(url, { max: 1, name: 'test-operations' })
  t.teardown(() => pool.close())
  const read = async (projection?: string) => (await readOperations(pool, 'a', 3, projection)).map(({ projection: of }) => of)
  t.strictSame(await read(), ['other', 'other', 'other'])
  t.strictSame(await read('cases'), ['cases'])
})
