// package-lock.json, as `npm ci` on a bare clone needs it.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

type Entry = { resolved?: string; optionalDependencies?: Record<string, string>; os?: string[] | string }

const lock = readFileSync(path.join(import.meta.dirname, '..', '..', 'package-lock.json'), 'utf8')
const { packages } = JSON.parse(lock) as { packages: Record<string, Entry> }

t.test('it names every optional package of every platform', async (t) => {
  // A registry that lacks some makes `npm install` leave them out silently; `npm ci` then refuses everywhere else.
  const missing = Object.entries(packages).flatMap(([parent, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter((name) => !packages[`node_modules/${name}`] && !packages[`${parent}/node_modules/${name}`]),
  )
  t.same(missing, [])
})

t.test('it records no download addresses', async (t) => {
  t.same(
    Object.entries(packages).filter(([, { resolved }]) => resolved !== undefined),
    [],
  )
})
