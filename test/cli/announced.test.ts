import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { announceApi, announcedApi } from '../../cli/announced.ts'

t.test('of several APIs that stop in any order, the newest that runs is found', async (t) => {
  const folder = t.testdir()
  t.equal(announcedApi(folder), undefined)
  const stops = [1, 2, 3].map((n) => announceApi(folder, `http://127.0.0.1:${n}`))
  t.equal(announcedApi(folder), 'http://127.0.0.1:3')
  stops[1]?.()
  t.equal(announcedApi(folder), 'http://127.0.0.1:3')
  stops[2]?.()
  t.equal(announcedApi(folder), 'http://127.0.0.1:1')
  const again = announceApi(folder, 'http://127.0.0.1:4')
  t.equal(announcedApi(folder), 'http://127.0.0.1:4')
  again()
  stops[0]?.()
  t.equal(announcedApi(folder), undefined)
})

t.test('an API that ended without saying so is passed over, and forgotten', async (t) => {
  const folder = t.testdir()
  mkdirSync(path.join(folder, 'apis'))
  const file = (name: string) => path.join(folder, 'apis', `${name}.json`)
  const put = (name: string, pid: number, startedAt: string) =>
    writeFileSync(file(name), JSON.stringify({ url: `http://127.0.0.1/${name}`, pid, startedAt }))
  put('running', process.ppid, '2026-01-01')
  put('killed', 2 ** 30, '2026-01-02') // no process has such a number
  writeFileSync(file('torn'), '{"url"')
  t.equal(announcedApi(folder), 'http://127.0.0.1/running')
  t.notOk(existsSync(file('killed')))
  t.notOk(existsSync(file('torn')))
  t.ok(existsSync(file('running')))
})
