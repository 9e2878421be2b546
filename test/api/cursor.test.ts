// Cursors: what comes back is what was sealed; what Postgres could not take is refused.

import t from 'tap'
import { z } from 'zod'
import { openCursor, sealCursor } from '../../api/cursor.ts'

const keys = z.array(z.string())
const refused = { code: 'request-invalid', detail: 'cursor: is not one that this API gave' }

t.test('a key with a backslash before u0000 is no NUL, and comes back as it was', async (t) => {
  const place = [String.raw`a\u0000b`, String.raw`\\u0000`, 'é']
  t.strictSame(openCursor(sealCursor(place), keys), place)
})

t.test('a NUL is refused, however deep', async (t) => {
  t.throws(() => openCursor(sealCursor(['a', 'b\0']), keys), refused)
  t.throws(() => openCursor(sealCursor({ rows: [[0, { name: '\0' }]] }), z.looseObject({})), refused)
})

t.test('what is no cursor is refused', async (t) => {
  for (const cursor of ['', 'abc', sealCursor({ other: 1 })]) t.throws(() => openCursor(cursor, keys), refused, cursor)
})
