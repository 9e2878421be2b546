import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { type ImportMap, parseMap } from '../../../cli/import/map.ts'
import { openSource, type Row, type Source } from '../../../cli/import/read.ts'

const MAP = parseMap(JSON.stringify({ execution_id: { column: 'id' }, event_name: 'x', created_at: { column: 'at' }, payload: ['note'] }))

async function read(path: string, map: ImportMap = MAP): Promise<Row[]> {
  return rowsOf(await openSource(path, map))
}

async function rowsOf({ rows }: Source): Promise<Row[]> {
  const all: Row[] = []
  for await (const one of rows) all.push(one)
  return all
}

const row = (line: number, id: string, note: string) => ({ line, cells: { id, at: '1', note } })

t.test('CSV and NDJSON, plain or gzip, give the same rows', async (t) => {
  const csv = '\uFEFFid,at,note\na,1,x\n\nb,1,"y, ""z"""\r\n'
  const ndjson = '{"id":"a","at":"1","note":"x"}\n\n\n{"id":"b","at":"1","note":"y, \\"z\\""}'
  const folder = t.testdir({ 'a.csv': csv, 'a.ndjson': ndjson, 'b.csv.gz': gzipSync(csv), 'b.jsonl.gz': gzipSync(ndjson) })
  for (const [name, lines] of [
    ['a.csv', [2, 4]],
    ['b.csv.gz', [2, 4]],
    ['a.ndjson', [1, 4]],
    ['b.jsonl.gz', [1, 4]],
  ] as const)
    t.same(await read(join(folder, name)), [row(lines[0], 'a', 'x'), row(lines[1], 'b', 'y, "z"')], name)
})

t.test('a row names the line on which it begins', async (t) => {
  const folder = t.testdir({ 'a.csv': 'id,at,note\na,1,"two\nlines"\nb,1,x\n' })
  t.same(await read(join(folder, 'a.csv')), [row(2, 'a', 'two\nlines'), row(4, 'b', 'x')])
})

t.test('it can be left at any row, also when the whole file was read already', { timeout: 20_000 }, async (t) => {
  const rows = 3000
  const csv = `id,at,note\n${Array.from({ length: rows }, (_, i) => `a${i},1,${'x'.repeat(100)}\n`).join('')}`
  const folder = t.testdir({ 'a.csv': csv, 'a.csv.gz': gzipSync(csv) })
  for (const name of ['a.csv', 'a.csv.gz'])
    for (let leave = 100; leave <= rows; leave += 100) {
      const source = await openSource(join(folder, name), MAP)
      let seen = 0
      for await (const _ of source.rows) {
        // As a lane that waits for an answer: what can be read is read meanwhile.
        if (++seen === leave - 1) await pause(5)
        if (seen === leave) break
      }
      t.equal(seen, leave)
    }
})

t.test('a row that is none is a fault with its line, and reading goes on', async (t) => {
  const folder = t.testdir({ 'a.csv': 'id,at,note\na,1\nb,1,x\n', 'a.ndjson': '{"id":\n[1]\n7\n{"id":"b"}\n' })
  t.same(await read(join(folder, 'a.csv')), [{ line: 2, fault: '2 columns instead of 3', text: 'a,1' }, row(3, 'b', 'x')])
  t.match(await read(join(folder, 'a.ndjson')), [
    { line: 1, fault: /^not JSON/, text: '{"id":' },
    { line: 2, fault: 'not a JSON object' },
    { line: 3, fault: 'not a JSON object' },
    { line: 4, cells: { id: 'b' } },
  ])
})

t.test('a quote that ends nowhere stops the reading, with the line before it', async (t) => {
  const folder = t.testdir({ 'a.csv': 'id,at,note\na,1,x\nb,1,"y\nc,1,z\n' })
  await t.rejects(read(join(folder, 'a.csv')), { code: 'import-unreadable', detail: /^after line 2: / })
})

t.test('a file cut off in the middle of its gzip is unreadable, not short', async (t) => {
  const whole = gzipSync('{"id":"a","at":"1"}\n'.repeat(10_000))
  const folder = t.testdir({})
  for (const name of ['a.csv.gz', 'a.ndjson.gz']) {
    writeFileSync(join(folder, name), name.includes('ndjson') ? whole.subarray(0, -20) : gzipSync('id,at,note\na,1,x\n').subarray(0, -6))
    await t.rejects(read(join(folder, name)), { code: 'import-unreadable' }, name)
  }
})

t.test('a header is checked against the map before any row', async (t) => {
  const folder = t.testdir({ 'a.csv': 'id,at,nota\n', 'b.csv': 'id,at,note,id\n', 'c.csv': '' })
  await t.rejects(read(join(folder, 'a.csv')), {
    code: 'map-invalid',
    detail: /payload\.0: the file has no column "note" \(did you mean "nota"/,
  })
  await t.rejects(read(join(folder, 'b.csv')), { code: 'import-unreadable', detail: 'two columns are named "id"' })
  await t.rejects(read(join(folder, 'c.csv')), { code: 'import-unreadable', detail: /empty/ })
  await t.rejects(read(join(folder, 'd.csv')), { code: 'usage', detail: /d\.csv can't be read/ })
})

t.test('what the map names and no NDJSON row has is told at the end', async (t) => {
  const folder = t.testdir({ 'a.ndjson': '{"id":"a","at":1}\n{"id":"b","nota":1}\n{"id":"b"}' })
  const source = await openSource(join(folder, 'a.ndjson'), MAP)
  await rowsOf(source)
  t.same(source.unseen(), ['"note"'])
})

t.test('NDJSON numbers keep every digit', async (t) => {
  const folder = t.testdir({ 'a.ndjson': '{"id":9007199254740993,"at":1.10}' })
  const [first] = await read(join(folder, 'a.ndjson'))
  t.equal(JSON.stringify(first), '{"line":1,"cells":{"id":9007199254740993,"at":1.10}}')
})

t.test('the columns of CSV may be parted and quoted otherwise', async (t) => {
  const map = { ...MAP, csv: { delimiter: ';', quote: '' } }
  const folder = t.testdir({ 'a.csv': 'id;at;note\na;1;"x\n' })
  t.same(await read(join(folder, 'a.csv'), map), [row(2, 'a', '"x')])
})

t.test('a reader that is left early lets go of the file', async (t) => {
  const folder = t.testdir({ 'a.csv': `id,at,note\n${'a,1,x\n'.repeat(200_000)}`, 'a.ndjson': '{"id":"a"}\n'.repeat(200_000) })
  for (const name of ['a.csv', 'a.ndjson']) {
    const source = await openSource(join(folder, name), MAP)
    for await (const { line } of source.rows) if (line > 10) break
    const { read: bytes, total } = source.bytes()
    t.ok(bytes < total / 2, `${name}: ${bytes} of ${total} bytes were read`)
  }
})
