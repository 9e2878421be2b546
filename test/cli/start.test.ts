import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { announceApi } from '../../cli/start.ts'

t.test('an API that stops gives the place of the announced one back to the one before it, if that still runs', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'api.json')
  const told = () => (JSON.parse(readFileSync(file, 'utf8')) as { url: string }).url
  const alone = announceApi(folder, 'http://127.0.0.1:1')
  t.equal(told(), 'http://127.0.0.1:1')
  alone()
  t.notOk(existsSync(file))
  const other = (pid: number) => writeFileSync(file, JSON.stringify({ url: 'http://127.0.0.1:2', pid, startedAt: '' }))
  other(process.ppid)
  const second = announceApi(folder, 'http://127.0.0.1:3')
  t.equal(told(), 'http://127.0.0.1:3')
  second()
  t.equal(told(), 'http://127.0.0.1:2', 'it runs on')
  other(2 ** 30) // no process has such a number
  announceApi(folder, 'http://127.0.0.1:4')()
  t.notOk(existsSync(file), 'it had ended without saying so')
  const overtaken = announceApi(folder, 'http://127.0.0.1:5')
  other(process.ppid)
  overtaken()
  t.equal(told(), 'http://127.0.0.1:2', 'started since')
})
