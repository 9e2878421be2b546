import t from 'tap'
import { runRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

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
  }
})
