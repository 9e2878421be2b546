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
