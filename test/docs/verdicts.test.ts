// docs/verdicts.md against what the code can say: reasons are read from the sources, so that a page made of the same list
// can't agree with itself alone.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

const read = (file: string) => readFileSync(path.join(import.meta.dirname, '../..', file), 'utf8')

t.test('the page has each verdict and reason that the code gives, and no other', async (t) => {
  const judged = [...read('workflow/accept.ts').matchAll(/verdict: '(\w+)'[;\n]\s*reason:([^;]+?)[;\n]\s*detail/g)].map(
    ([, verdict = '', reasons = '']) => [verdict, [...reasons.matchAll(/'([\w-]+)'/g)].map(([, reason]) => reason)],
  )
  const quarantines = [...read('schemas/decoded.ts').matchAll(/^ {2}\| '([\w-]+)'/gm)].map(([, reason]) => reason)
  const expected = new Map<unknown, unknown>([...judged, ['quarantined', quarantines]] as [unknown, unknown][])
  t.ok(quarantines.length > 10)
  const page = read('docs/verdicts.md')
  const told = page
    .split(/^## /m)
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), [...part.matchAll(/^\| `([\w-]+)`/gm)].map(([, reason]) => reason)] as const)
  t.same(new Map(told), expected)
})
