import { connect } from 'node:net'
import t from 'tap'
import { runRefold, startCommand, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

t.test('the demo imports, shows and ends; run again, it finds duplicates only', { timeout: 180_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!addresses.databaseUrl) return
  const { env } = await useInstallation(t, addresses, 'demo-token=demo')
  for (const round of ['first', 'second']) {
    const { code, stdout, stderr } = await runRefold(['demo', '--once'], env)
    t.equal(code, 0, 'exit code', { stderr })
    t.match(stdout, round === 'first' ? /accepted +8,577\n +duplicates +0\n/ : /accepted +0\n +duplicates +8,577 /)
    t.equal(stdout.includes('Imported before'), round === 'second')
    t.match(stdout, '1,434 executions, 8,577 events accepted')
    t.match(stdout, /SEQ {2}CREATED[^]*1 {4}\d{4}-\d\d-\d\d \d\d:\d\d {2}\S+ +Confirmation of receipt\n/)
    t.match(stdout, /curl -s -H 'Authorization: Bearer demo-token' http:\/\/127\.0\.0\.1:\d+\/v1\/executions\/[0-9a-f-]{36}\/events/)
    // Then the orders: all end, those that wait for a person by an answer, and the planted one is told with what it waits for.
    t.match(stdout, /^ {2}200 of 200 ended, 0 wait for a person$/m)
    t.match(stdout, /^ORDERS {2}OUTCOME\n(?: +199 {2}shipped\n +1 {2}rejected| +1 {2}rejected\n +199 {2}shipped)\n22 answers by a person/m)
    t.match(stdout, /^cause +action-retrying\nbecause +charge failed [4-7] of 8 times: the payment target answers 503$/m)
    t.match(stdout, /^by itself +attempt [5-8] starts at 20\d\d-/m)
    t.match(stdout, /^ {2}lastError +\{.*"message":"the payment target answers 503"/m)
    t.notMatch(stdout, 'Not as it must be')
  }
  // Without --once it stays, until it is told to end; a request that never comes to its end does not keep it.
  const { child, finished } = startCommand(['demo'], env)
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (text: string) => (said += text))
  await until(() => said.includes('It stays up until Ctrl-C.'), { within: 60_000, what: 'the demo to stay' })
  const socket = connect(Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(said)?.[1]), '127.0.0.1')
  socket.on('error', () => undefined) // the demo's end
  t.teardown(() => socket.destroy())
  socket.write(
    'POST /v1/executions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer demo-token\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{',
  )
  await new Promise((resolve) => socket.once('connect', resolve))
  const began = performance.now()
  child.kill('SIGTERM')
  t.equal((await finished).code, 0, 'exit code')
  t.ok(performance.now() - began < 15_000, `it ended after ${Math.round(performance.now() - began)} ms`)
})
