import fc from 'fast-check'
import t from 'tap'
import { cutMember, elementsOf, linesOf } from '../../api/raw-json.ts'

const LOSSY = '{"big":9007199254740993,"fine":0.1234567890123456789,"exp":1e400,"text":"a\\"],{\\\\"}'

t.test('elements of an array come as they were written', async (t) => {
  t.same(elementsOf(` [ ${LOSSY} ,[1, 2 ],"a,]" , null]\n`), { elements: [`${LOSSY} `, '[1, 2 ]', '"a,]" ', 'null'] })
  t.same(elementsOf('[]'), { elements: [] })
  t.same(elementsOf(' [ ] '), { elements: [] })
})

t.test('what is not one array is told', async (t) => {
  t.match(elementsOf('{"a":1}'), { fault: 'it does not begin with [' })
  t.match(elementsOf(''), { fault: 'it does not begin with [' })
  t.match(elementsOf('[1,2'), { fault: /not closed/ })
  t.match(elementsOf('["a'), { fault: /not closed/ })
  t.match(elementsOf('[1}'), { fault: /not closed/ })
  t.match(elementsOf('[1] 2'), { fault: /follows/ })
})

t.test('a comma too many leaves an element that is not JSON', async (t) => {
  t.same(elementsOf('[1,]'), { elements: ['1', ''] })
  t.same(elementsOf('[,1]'), { elements: ['', '1'] })
})

t.test('for any array, the elements parse to what the array parses to, and any text ends', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue()), fc.constantFrom(undefined, 1, '\t'), (values, space) => {
      const cut = elementsOf(JSON.stringify(values, null, space))
      t.ok('elements' in cut)
      if ('elements' in cut)
        t.same(
          cut.elements.map((element) => JSON.parse(element) as unknown),
          JSON.parse(JSON.stringify(values)),
        )
    }),
    { numRuns: 200 },
  )
  const fragments = fc.array(fc.constantFrom('[', ']', '{', '}', '"', '\\', ',', ':', '1', ' ', 'a', '"payload"'))
  fc.assert(
    fc.property(fragments, (parts) => {
      const text = parts.join('')
      const cut = elementsOf(text)
      const whole = isJson(text) && Array.isArray(JSON.parse(text))
      const byParts = 'elements' in cut && (cut.elements.length === 0 || cut.elements.every(isJson))
      return whole === byParts
    }),
    { numRuns: 3000 },
  )
})

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

t.test('a member is cut out as it was written', async (t) => {
  t.same(cutMember(`{"a": "payload", "payload" : ${LOSSY} , "b":1}`, 'payload'), {
    rest: '{"a": "payload", "payload" : null , "b":1}',
    source: LOSSY,
  })
  t.same(cutMember('{"pay\\u006coad":[1.10]}', 'payload'), { rest: '{"pay\\u006coad":null}', source: '[1.10]' })
  t.same(cutMember('{"a":{"payload":1}}', 'payload'), { rest: '{"a":{"payload":1}}' })
  t.same(cutMember('[1]', 'payload'), { rest: '[1]' })
})

t.test('a key that comes twice is named', async (t) => {
  t.equal(cutMember('{"payload":1,"payload":2}', 'payload').repeated, 'payload')
  t.equal(cutMember('{"a":1,"b":2,"\\u0061":3}', 'payload').repeated, 'a')
})

t.test('text with a member cut out is JSON exactly when the whole was', async (t) => {
  const fragments = fc.array(fc.constantFrom('{', '}', '[', ']', '"payload":', '"b":', ',', '1', '"x"', ' ', '\\'))
  const sameVerdict = fc.property(fragments, (parts) => {
    const text = `{${parts.join('')}}`
    const { rest, source, repeated } = cutMember(text, 'payload')
    return repeated !== undefined || isJson(text) === (isJson(rest) && (source === undefined || isJson(source)))
  })
  t.doesNotThrow(() => fc.assert(sameVerdict, { numRuns: 5000 }))
})

t.test('lines carry their numbers, empty ones are passed over', async (t) => {
  t.same(linesOf('{"a":1}\r\n\n  \n{"b":2}'), [
    { line: 1, text: '{"a":1}' },
    { line: 4, text: '{"b":2}' },
  ])
})
