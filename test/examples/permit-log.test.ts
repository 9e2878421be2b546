import { gunzipSync } from 'node:zlib'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createMapper } from '../../cli/import/item.ts'
import { checkColumns, parseMap } from '../../cli/import/map.ts'
import { COLUMNS, DEFAULT_SEED, generate } from '../../examples/permit-log/generate.ts'
import { dataFile, MAP_FILE } from '../../examples/permit-log/data.ts'
import { foldPermitLog } from './fold.ts'

const given = await dataFile(process.env)
const made = await dataFile({}, t.testdir())

for (const { path: file, generated } of given.generated ? [made] : [made, given]) {
  const name = generated ? 'the generated log' : 'the given log'

  t.test(`${name} has 1,434 cases, 8,577 events and 27 activities`, async (t) => {
    const cases = [...foldPermitLog(file).values()]
    const events = cases.flatMap(({ events: all }) => all)
    t.equal(cases.length, 1434)
    t.equal(events.length, 8577)
    t.equal(new Set(events.map((event) => event.to_state)).size, 27)
    t.equal(new Set(events.map((event) => event.payload['event_id'])).size, 8577)
    t.same([...new Set(cases.map(({ events: all }) => all[0]?.to_state))], ['Confirmation of receipt'])
  })

  t.test(`${name} is in order of time within each case`, async (t) => {
    for (const { key, events } of foldPermitLog(file).values()) {
      const times = events.map(({ created_at }) => created_at)
      if (JSON.stringify(times) !== JSON.stringify(times.toSorted())) t.fail(key)
    }
  })

  t.test(`${name} goes through the example's map, row by row`, async (t) => {
    const map = parseMap(readFileSync(MAP_FILE, 'utf8'))
    const [header = '', ...lines] = gunzipSync(readFileSync(file)).toString().trimEnd().split('\r\n')
    checkColumns(map, header.split(','))
    const toItem = createMapper(map)
    const faults = lines
      .map((line) => toItem(Object.fromEntries(line.split(',').map((cell, i) => [COLUMNS[i], cell]))))
      .filter((item) => 'fault' in item)
    t.same(faults, [])
  })
}

t.test('the same seed gives the same rows, another seed others', async (t) => {
  const [one, same, other] = [DEFAULT_SEED, DEFAULT_SEED, DEFAULT_SEED + 1].map((seed) => [...generate({ seed, cases: 50 })].join(''))
  t.equal(one, same)
  t.not(one, other)
})

t.test('any number of cases can be made', async (t) => {
  const cases = [...generate({ cases: 3000 })].slice(1).map((line) => line.split(',')[0])
  t.equal(new Set(cases).size, 3000)
})

t.test('REFOLD_DATA that names no file is refused, not passed over', async (t) => {
  await t.rejects(dataFile({ REFOLD_DATA: path.join(t.testdirName, 'none.csv.gz') }), { code: 'config-invalid' })
})

t.test('many at once make the generated log once, whole', async (t) => {
  const folder = path.join(t.testdir(), 'new')
  const files = await Promise.all(Array.from({ length: 4 }, () => dataFile({}, folder)))
  t.equal(new Set(files.map((file) => file.path)).size, 1)
  t.ok(existsSync(files[0]!.path))
  t.equal(foldPermitLog(files[0]!.path).size, 1434)
})
