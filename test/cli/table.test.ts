import t from 'tap'
import { oneLine, sheet, table } from '../../cli/table.ts'

t.test('columns are as wide as they must be', async (t) => {
  const text = table(
    ['SEQ', 'EVENT', 'PAYLOAD'],
    [
      ['1', 'order.placed', '{}'],
      ['10', 'x', ''],
    ],
  )
  t.equal(text, 'SEQ  EVENT         PAYLOAD\n1    order.placed  {}\n10   x')
})

t.test('no line is longer than the terminal', async (t) => {
  t.equal(table(['A', 'B'], [['1', 'x'.repeat(50)]], 10), `A  B\n1  ${'x'.repeat(6)}…`)
})

t.test('the last column is cut by the terminal only', async (t) => {
  const long = 'x'.repeat(100)
  t.equal(table(['A', 'B'], [['1', long]]), `A  B\n1  ${long}`)
  t.equal(table(['A', 'B'], [[long, '1']]), `${'A'.padEnd(60)}  B\n${'x'.repeat(59)}…  1`)
})

t.test('what would move the cursor is not printed', async (t) => {
  t.equal(oneLine('a\u001b[2Jb\nc'), 'a [2Jb c')
  t.equal(
    sheet([
      ['state', 'a\nb'],
      ['k', 'v'],
    ]),
    'state  a b\nk      v',
  )
})
