// Positions as text: what the API gives as an id, it takes back.

import t from 'tap'
import { formatPositions, parsePositions } from '../../workflow/position.ts'

t.test('what is written is read again; a partition of which nothing was seen is left out', async (t) => {
  const seen = new Map([
    [7, 120_345],
    [1, -1],
    [0, 0],
  ])
  t.equal(formatPositions(seen), 'p0:0,p7:120345')
  t.strictSame(
    parsePositions(formatPositions(seen)),
    new Map([
      [0, 0],
      [7, 120_345],
    ]),
  )
  t.equal(formatPositions(new Map([[3, -1]])), '')
})
