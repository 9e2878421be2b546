import fc from 'fast-check'
import t from 'tap'
import { jsonDepth, parseJson, parseJsonVerbatim } from '../../workflow/json.ts'

t.test('numbers that a double cannot hold keep every digit', async (t) => {
  for (const number of ['9007199254740993', '0.1234567890123456789', '-123456789012345678901234567890', '1e400', '1E-400', '3.14']) {
    t.equal(JSON.stringify(parseJson(`{"n":[${number}]}`)), `{"n":[${number}]}`)
  }
})

t.test('a number that the engine writes as it was read is a number', async () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
      const [parsed] = parseJson(`[${String(number)}]`) as unknown[]
      return typeof parsed === 'number' && parsed === number
    }),
  )
})

t.test('a key __proto__ is left out, however it is written', async (t) => {
  for (const text of ['{"__proto__":{"admin":true},"a":1}', String.raw`{"\u005f_proto__":{"admin":true},"a":1}`]) {
    const value = parseJson(text)
    t.equal(JSON.stringify(value), '{"a":1}')
    t.equal(Object.getPrototypeOf(value), Object.prototype)
    t.notOk((value as { admin?: boolean }).admin)
  }
})

t.test('parsing and writing any JSON gives what the engine gives', async () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const plain: unknown = JSON.parse(text)
      return (
        JSON.stringify(JSON.parse(JSON.stringify(parseJson(text)))) ===
        JSON.stringify(plain, (key, value: unknown) => (key === '__proto__' ? undefined : value))
      )
    }),
  )
})

t.test('verbatim: numbers keep their text, whichever way the text was parsed', async (t) => {
  const slowly = (text: string): unknown =>
    JSON.parse(text, (key: string, value: unknown, { source }: { source?: string }) => {
      if (key === '__proto__') return undefined
      return typeof value === 'number' && source !== undefined ? JSON.rawJSON(source) : value
    })
  const written = (text: string) => JSON.stringify(parseJsonVerbatim(text))
  for (const text of [
    '{"a":1.0}',
    '[1e3,-0,0.10]',
    '{"b":1,"a":{"1":2}}',
    '{ "a" : 1 }',
    '{"__proto__":{"a":1},"b":2}',
    '9007199254740993',
    'null',
  ])
    t.equal(written(text), JSON.stringify(slowly(text)), text)
  t.equal(written('{"n":1.50,"m":12}'), '{"n":1.50,"m":12}')
  fc.assert(fc.property(fc.json(), (text) => written(text) === JSON.stringify(slowly(text))))
})

t.test('depth counts brackets outside strings', async (t) => {
  t.equal(jsonDepth('1'), 0)
  t.equal(jsonDepth(String.raw`{"a":"[[[[\"[[[","b":[[]]}`), 3)
  t.equal(jsonDepth('['.repeat(10_000) + ']'.repeat(10_000)), 10_000)
})
