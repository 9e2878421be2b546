import path from 'node:path'
import t, { type Test } from 'tap'
import { runRefold, startCommand } from '../support/refold-process.ts'
import { until } from '../support/wait.ts'
import { type FakeOptions, startFakeIntake } from './import/fake-intake.ts'

const MAP = JSON.stringify({
  workflow_name: 'permit',
  business_key: { column: 'case' },
  event_name: 'permit.moved',
  to_state: { column: 'state' },
  created_at: { column: 'at', format: 'epoch-ms' },
  idempotency_key: { column: 'id' },
})

const fileOf = (rows: number) => `case,state,at,id\n${Array.from({ length: rows }, (_, i) => `c${i % 5},s${i},${i},${i}`).join('\n')}\n`

async function given(t: Test, rows: number, options: FakeOptions = {}) {
  const api = await startFakeIntake(options)
  t.teardown(() => api.close())
  const folder = t.testdir({ 'map.json': MAP, 'rows.csv': fileOf(rows) })
  const env = { ...process.env, REFOLD_API_URL: api.url, REFOLD_API_TOKEN: 'secret' }
  const args = ['import', path.join(folder, 'rows.csv'), '--map', path.join(folder, 'map.json')]
  return { api, folder, env, args }
}

t.test('all in: a summary, exit code 0', async (t) => {
  const { env, args } = await given(t, 30)
  const { code, stdout } = await runRefold(args, env)
  t.equal(code, 0)
  t.match(stdout, /30 rows in .*\n +appended +30.*\n +accepted +30\n +duplicates +0\n +conflicts +0\n +refused +0\n$/)
})

t.test('some not in: the first of them with line and reason, the file of all, exit code 1', async (t) => {
  const { env, args, folder } = await given(t, 30, { verdict: (item) => (item['to_state'] === 's7' ? 'refused' : undefined) })
  const { code, stdout } = await runRefold(args, env)
  t.equal(code, 1)
  t.match(stdout, 'line 9: refused: An event is not valid')
  t.match(stdout, `What did not get in, with its reasons: ${path.join(folder, 'rows.csv.refused.ndjson')}`)
})

t.test('a verdict that is not known is exit code 1, unless none was asked for', async (t) => {
  const { env, args } = await given(t, 5, { verdict: () => 'pending' })
  t.equal((await runRefold(args, env)).code, 1)
  t.equal((await runRefold([...args, '--wait', '0'], env)).code, 0)
})

t.test('--dry-run maps and sends nothing', async (t) => {
  const { env, args, api } = await given(t, 30)
  const { code, stdout } = await runRefold([...args, '--dry-run'], env)
  t.equal(code, 0)
  t.match(stdout, /"to_state":"s2".*\n30 rows can be sent, 0 can not/)
  t.equal(api.requests, 0)
})

t.test('what is wrong is said in one message: the map, the file, the API', async (t) => {
  const { env, args, folder, api } = await given(t, 3)
  const [, file = '', , map = ''] = args
  const refusal = async (command: string[], use = env) => (await runRefold(['import', ...command], use)).stderr
  t.match(await refusal([file, '--map', file]), /^refold: The import map is not valid: it is not JSON/)
  t.match(await refusal([`${folder}/none.csv`, '--map', map]), /^refold: .*none\.csv can't be read/)
  t.match(await refusal([file]), /required option '--map/)
  t.match(await refusal([file, '--map', map, '--batch', '0']), /whole number from 1 to/)
  await api.close()
  t.match(
    await refusal([file, '--map', map, '--patience', '1']),
    /^refold: The import stopped: no answer from .*Run the same command again/,
  )
})

t.test('Ctrl-C finishes the requests in flight, says how to go on, and ends with 130', async (t) => {
  let letGo = () => {}
  const held = new Promise<void>((resolve) => (letGo = resolve))
  const { env, args, api } = await given(t, 500, { hold: () => held })
  const { child, finished } = startCommand([...args, '--batch', '10', '--parallel', '1'], env)
  let stderr = ''
  child.stderr.on('data', (text: string) => (stderr += text))
  await until(() => api.requests === 1, { what: 'a request in flight' })
  child.kill('SIGINT')
  await until(() => stderr.includes('Finishing the requests in flight'), { what: 'the answer to Ctrl-C' })
  letGo()
  const { code, stdout } = await finished
  t.equal(code, 130)
  t.match(stdout, 'Run the same command to go on')
  t.equal(api.accepted.length, 10)
})
