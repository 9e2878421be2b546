// The import arrows of the design (section 11), read from the source text.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

const ROOT = path.join(import.meta.dirname, '..')

/** Folder (or top-level file) → folders it may import from; its own is always allowed. Types of schemas/ and errors.ts are open to all. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  workflow: [],
  schemas: ['.oxfmtrc.json'],
  kafka: ['workflow'],
  postgres: ['workflow', 'projections', 'kafka:types', 'consumers:types', 'producers:types', 'combine.ts'],
  redis: ['workflow', 'consumers:types'],
  reader: [],
  producers: ['workflow', 'kafka', 'schemas'],
  projections: ['workflow'],
  actions: ['workflow'],
  consumers: ['workflow', 'producers', 'projections', 'actions', 'kafka:types', 'postgres:types', 'watch.ts', 'combine.ts'],
  api: ['workflow', 'producers', 'postgres', 'projections'],
  testing: ['workflow', 'kafka'],
  stack: ['config.ts'],
}

/** Clients that only one folder may import. */
const CLIENTS: Readonly<Record<string, readonly string[]>> = {
  kafkajs: ['kafka'],
  pg: ['postgres', 'stack'],
  'pg-copy-streams': ['postgres'],
  slonik: ['postgres'],
  ioredis: ['redis', 'reader', 'stack'],
  avsc: ['schemas'],
  fastify: ['api'],
  jose: ['api'],
}

type Import = { file: string; from: string; target: string; typeOnly: boolean }

/** Folders that are still to come hold nothing. */
function sources(folder: string): string[] {
  if (!existsSync(path.join(ROOT, folder))) return []
  return readdirSync(path.join(ROOT, folder)).flatMap((name) => {
    const file = path.join(folder, name)
    if (statSync(path.join(ROOT, file)).isDirectory()) return sources(file)
    return file.endsWith('.ts') ? [file] : []
  })
}

function importsOf(file: string): Import[] {
  const text = readFileSync(path.join(ROOT, file), 'utf8')
  const found: Import[] = []
  for (const match of text.matchAll(/^(?:import|export)\s+(type\s+)?([^'"]*?)\s*(?:from\s+)?'([^']+)'/gms)) {
    const [, type, names = '', target = ''] = match
    const allTypes =
      /^\{.*\}$/s.test(names) &&
      names
        .slice(1, -1)
        .split(',')
        .every((name) => name.trim() === '' || name.trim().startsWith('type '))
    found.push({ file, from: file.split(path.sep)[0] ?? '', target, typeOnly: type !== undefined || allTypes })
  }
  return found
}

function folderOf({ file, target }: Import): string {
  return path.normalize(path.join(path.dirname(file), target)).split(path.sep)[0] ?? ''
}

function isAllowed(one: Import): boolean {
  const to = folderOf(one)
  if (to === one.from || to === 'errors.ts' || to === 'faults.ts') return true
  const arrows = ARROWS[one.from] ?? []
  return arrows.includes(to) || (one.typeOnly && (to === 'schemas' || arrows.includes(`${to}:types`)))
}

t.test('every import follows the arrows', async (t) => {
  for (const folder of Object.keys(ARROWS)) {
    const wrong = sources(folder)
      .flatMap(importsOf)
      .filter((one) => one.target.startsWith('.') && !isAllowed(one))
    t.strictSame(
      wrong.map(({ file, target }) => `${file} → ${target}`),
      [],
      folder,
    )
  }
})

t.test('each client is imported by one folder', async (t) => {
  const all = [...Object.keys(ARROWS), 'cli'].flatMap(sources).flatMap(importsOf)
  for (const [client, folders] of Object.entries(CLIENTS)) {
    const wrong = all.filter(({ target, from }) => target === client && !folders.includes(from))
    t.strictSame(
      wrong.map(({ file }) => file),
      [],
      client,
    )
  }
})

t.test('the rule can be broken: a wrong arrow is seen', async (t) => {
  t.notOk(isAllowed({ file: 'workflow/x.ts', from: 'workflow', target: '../kafka/log.ts', typeOnly: true }))
  t.notOk(isAllowed({ file: 'kafka/x.ts', from: 'kafka', target: '../postgres/pool.ts', typeOnly: false }))
  t.ok(isAllowed({ file: 'workflow/x.ts', from: 'workflow', target: '../schemas/generated.ts', typeOnly: true }))
  t.notOk(isAllowed({ file: 'consumers/x.ts', from: 'consumers', target: '../postgres/pool.ts', typeOnly: false }))
})
