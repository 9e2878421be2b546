import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseMap } from '../../../cli/import/map.ts'
import { reportOf } from '../../../cli/import/report.ts'
import { type ImportOptions, runImport, type Summary } from '../../../cli/import/run.ts'
import type { RefusedRow } from '../../../cli/import/refused.ts'
import { until } from '../../support/wait.ts'
import { type FakeIntake, type FakeOptions, startFakeIntake } from './fake-intake.ts'

const MAP = parseMap(
  JSON.stringify({
    workflow_name: 'permit',
    business_key: { column: 'case' },
    event_name: 'permit.moved',
    to_state: { column: 'state' },
    created_at: { column: 'at', format: 'epoch-ms' },
    idempotency_key: { column: 'id' },
  }),
)

/** `rows` rows of `cases` cases, taken in turn; row n has id n and time n. */
function fileOf(rows: number, cases: number): string {
  const lines = Array.from({ length: rows }, (_, i) => `c${i % cases},s${i},${i},${i}`)
  return `case,state,at,id\n${lines.join('\n')}\n`
}

async function intake(t: Test, options?: FakeOptions): Promise<FakeIntake> {
  const api = await startFakeIntake(options)
  t.teardown(() => api.close())
  return api
}

function run(file: string, api: FakeIntake, extra: Partial<ImportOptions> & { token?: string; patience?: number } = {}): Promise<Summary> {
  const { token = 'secret', patience = 10_000, ...options } = extra
  return runImport({
    file,
    map: MAP,
    target: { url: api.url, token, wait: 10, patience },
    parallel: 3,
    batch: 10,
    refusedPath: `${file}.refused.ndjson`,
    stop: new AbortController().signal,
    ...options,
  })
}

const refusedOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as RefusedRow)

/** Times of the accepted events, per execution, in the order they came. */
function timesOf(api: FakeIntake): Map<string, number[]> {
  const times = new Map<string, number[]>()
  for (const { execution, item } of api.accepted) times.set(execution, [...(times.get(execution) ?? []), Number(item['created_at'])])
  return times
}

function holdsFileOrder(t: Test, api: FakeIntake, rows: number, cases: number): void {
  t.equal(api.accepted.length, rows)
  t.equal(timesOf(api).size, cases)
  for (const [execution, times] of timesOf(api))
    t.same(
      times,
      times.toSorted((a, b) => a - b),
      `${execution} is in file order`,
    )
}

t.test('every row gets in once, in file order within its execution, a few requests at a time', async (t) => {
  // The first request is answered only when two others came meanwhile.
  const others = (): Promise<unknown> => until(() => api.requests >= 3, { what: 'three requests at a time' })
  const api: FakeIntake = await intake(t, { hold: (request) => (request === 1 ? others() : undefined) })
  const file = join(t.testdir({ 'a.csv': fileOf(500, 20) }), 'a.csv')
  const { counts, complete, refusedPath } = await run(file, api)
  t.match(counts, { rows: 500, appended: 500, accepted: 500, duplicates: 0, refused: 0, pending: 0 })
  t.ok(complete)
  t.equal(refusedPath, undefined)
  holdsFileOrder(t, api, 500, 20)
  t.ok(api.mostOpen >= 2 && api.mostOpen <= 3, `${api.mostOpen} requests at a time`)
})

t.test('run again, every row is a duplicate', async (t) => {
  const api = await intake(t)
  const file = join(t.testdir({ 'a.csv': fileOf(200, 20) }), 'a.csv')
  await run(file, api)
  const { counts } = await run(file, api, { parallel: 1, batch: 7 })
  t.match(counts, { accepted: 0, duplicates: 200, conflicts: 0, duplicatesOfRepeats: 0 })
  t.equal(api.accepted.length, 200)
})

t.test('a row changed under its key is a conflict, and named', async (t) => {
  const api = await intake(t)
  const folder = t.testdir({ 'a.csv': fileOf(20, 2), 'b.csv': fileOf(20, 2).replace('s13', 'other') })
  await run(join(folder, 'a.csv'), api)
  const { counts, refusedPath } = await run(join(folder, 'b.csv'), api)
  t.match(counts, { duplicates: 19, conflicts: 1 })
  t.match(refusedOf(refusedPath!), [{ line: 15, outcome: 'conflict', row: { to_state: 'other' } }])
})

for (const mood of ['unavailable', 'too-many', 'lose-answer', 'unacknowledged'] as const)
  t.test(`${mood}: sent again until it is in, once and in order`, async (t) => {
    const api = await intake(t, { mood: (request) => (request % 2 === 0 ? 'answer' : mood) })
    const file = join(t.testdir({ 'a.csv': fileOf(120, 5) }), 'a.csv')
    const { counts } = await run(file, api)
    t.equal(counts.accepted + counts.duplicates, 120)
    t.equal(counts.duplicates, counts.duplicatesOfRepeats)
    if (mood === 'lose-answer') t.ok(counts.duplicates > 0)
    else t.equal(counts.duplicates, 0)
    holdsFileOrder(t, api, 120, 5)
  })

t.test('refused rows are written with their lines and reasons, the others get in', async (t) => {
  const api = await intake(t, {
    verdict: (item) => (item['to_state'] === 's4' ? 'refused' : item['to_state'] === 's5' ? 'late' : undefined),
  })
  const text = fileOf(8, 2).replace('c0,s0,0,0', 'c0,s0,soon,0').replace('c1,s1,1,1', 'c1,s1')
  const file = join(t.testdir({ 'a.csv': text, 'a.csv.refused.ndjson': 'old' }), 'a.csv')
  const { counts, refusedPath, examples } = await run(file, api)
  t.match(counts, { rows: 8, accepted: 4, refused: 3, late: 1 })
  const refused = refusedOf(refusedPath!)
  t.match(
    refused.toSorted((a, b) => a.line - b.line),
    [
      { line: 2, outcome: 'unmapped', reason: 'created_at: "soon" is not a number', row: { case: 'c0', at: 'soon' } },
      { line: 3, outcome: 'unreadable', reason: '2 columns instead of 4', row: 'c1,s1' },
      { line: 6, outcome: 'refused', reason: 'An event is not valid: told to', row: { to_state: 's4' } },
      { line: 7, outcome: 'late', reason: 'test', row: { to_state: 's5' } },
    ],
  )
  t.equal(JSON.stringify(examples), JSON.stringify(refused))
})

t.test('a request of which nothing was valid counts row by row', async (t) => {
  const api = await intake(t, { mood: () => 'refuse-all' })
  const file = join(t.testdir({ 'a.csv': fileOf(25, 3) }), 'a.csv')
  t.match((await run(file, api)).counts, { accepted: 0, refused: 25 })
})

t.test('a verdict that is not there in time is counted as pending', async (t) => {
  const api = await intake(t, { verdict: (item) => (item['to_state'] === 's3' ? 'pending' : undefined) })
  const file = join(t.testdir({ 'a.csv': fileOf(5, 1) }), 'a.csv')
  t.match((await run(file, api)).counts, { accepted: 4, pending: 1 })
})

t.test('a wrong token stops the import at once', async (t) => {
  const api = await intake(t)
  const file = join(t.testdir({ 'a.csv': fileOf(100, 3) }), 'a.csv')
  await t.rejects(run(file, api, { token: 'wrong', parallel: 1 }), { code: 'unauthenticated' })
  t.equal(api.requests, 1)
})

t.test('an API that stays away stops the import after its patience, and says what was sent', async (t) => {
  const api = await intake(t, { mood: (request) => (request < 3 ? 'answer' : 'unavailable') })
  const file = join(t.testdir({ 'a.csv': fileOf(100, 3) }), 'a.csv')
  await t.rejects(run(file, api, { patience: 300, parallel: 1 }), {
    code: 'import-failed',
    detail: /answered 503: Away: told to; 20 of \d+ rows read so far had been sent/,
  })
})

t.test('stopped, it finishes the requests in flight and sends nothing else', async (t) => {
  const stop = new AbortController()
  const api = await intake(t, {
    hold: (request) => {
      if (request === 2) stop.abort()
      return undefined
    },
  })
  const file = join(t.testdir({ 'a.csv': fileOf(1000, 3) }), 'a.csv')
  const stopped = await run(file, api, { stop: stop.signal })
  const { counts, complete } = stopped
  t.notOk(complete)
  t.equal(counts.accepted, api.accepted.length)
  t.ok(counts.accepted < 1000)
  t.ok(counts.rows > counts.accepted, 'more was read than sent')
  t.match(reportOf(file, stopped), `${file}: ${counts.accepted} of the ${counts.rows} rows read so far in `)
  const again = await run(file, api)
  t.equal(again.counts.accepted + counts.accepted, 1000)
})

t.test('stopped while the API is away, it gives up the requests it was sending again', async (t) => {
  const stop = new AbortController()
  const api = await intake(t, {
    mood: (request) => {
      if (request === 4) stop.abort()
      return 'unavailable'
    },
  })
  const file = join(t.testdir({ 'a.csv': fileOf(1000, 3) }), 'a.csv')
  const { counts, complete } = await run(file, api, { stop: stop.signal, patience: 600_000 })
  t.notOk(complete)
  t.equal(counts.appended, 0)
  t.ok(api.requests <= 4 + 3, `${api.requests} requests`)
})

t.test('what an earlier import could not bring in is forgotten by the next', async (t) => {
  const api = await intake(t)
  const folder = t.testdir({ 'a.csv': fileOf(20, 2), 'a.csv.refused.ndjson': 'old' })
  const { refusedPath } = await run(join(folder, 'a.csv'), api)
  t.equal(refusedPath, undefined)
  t.notOk(existsSync(join(folder, 'a.csv.refused.ndjson')))
})

t.test('memory: reading never runs ahead of sending by more than two batches a lane', async (t) => {
  let ahead = 0
  let now: (() => { read: number; done: number }) | undefined
  const api = await intake(t, {
    hold: async () => {
      const { read, done } = now!()
      ahead = Math.max(ahead, read - done)
    },
  })
  const file = join(t.testdir({ 'a.csv': fileOf(5000, 50) }), 'a.csv')
  await run(file, api, { onStart: (progress) => (now = progress) })
  t.ok(ahead <= 3 * 2 * 10, `${ahead} rows ahead`)
})

t.test('a line that cannot be read ends the import; the rows before it are in', async (t) => {
  const api = await intake(t)
  const folder = t.testdir({ 'a.csv': `${fileOf(25, 3)}c1,"never closed,1,1\n` })
  await t.rejects(run(join(folder, 'a.csv'), api), { code: 'import-unreadable' })
  t.equal(api.accepted.length, 25)
})
