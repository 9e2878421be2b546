// What docs/operations.md prints is what Refold does: metrics, the topic's settings, the roles, its links.

import { existsSync, globSync, readFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { Client } from 'pg'
import t from 'tap'
import { topicCommand } from '../../cli/doctor/kafka.ts'
import { readConfig } from '../../config.ts'
import { fillBlocks, regionOf } from '../../docs/regions.ts'
import { createMetrics } from '../../metrics.ts'
import { createWatch } from '../../watch.ts'
import { CATALOGUE } from '../../errors.ts'
import { useStack } from '../support/stack.ts'

const DOCS = path.join(import.meta.dirname, '..', '..', 'docs')
const read = (name: string) => readFileSync(path.join(DOCS, name), 'utf8')
const page = read('operations.md')

void t.test('its blocks are what the files say', async (t) => {
  t.equal(page, fillBlocks(page, DOCS))
  t.notMatch(page, /```\w+\n```/, 'no block is empty')
})

void t.test('it names every metric of ours, and no other', async (t) => {
  const { metrics } = createMetrics(createWatch(), { hits: 0, misses: 0 })
  const ours = [...(await metrics()).matchAll(/^# TYPE (\S+)/gm)]
    .flatMap(([, name]) => name ?? [])
    .filter((name) => !/^refold_(process|nodejs)_/.test(name))
  const told = [...page.matchAll(/^\| `(refold_\w+_\w+)`/gm)].flatMap(([, name]) => name ?? [])
  t.same(told.toSorted(), ours.toSorted())
})

void t.test('the command that makes the topic makes it as Refold would', async (t) => {
  const words = (command: string) => command.replaceAll('\\\n', ' ').trim().split(/\s+/)
  const told = words(regionOf(read('examples/topic.sh'), 'topic'))
  const wanted = words(topicCommand(readConfig({ REFOLD_REPLICATION: '3' }), 'refold.events', ['"$KAFKA_BROKERS"']))
  t.same(told, wanted)
})

void t.test('the statements that make the roles make them as the migration does', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (!databaseUrl) return
  const prefix = `docs_${randomBytes(4).toString('hex')}`
  const statements = regionOf(read('examples/roles.sql'), 'roles')
    .replaceAll(/refold_(engine|api|reader|login)/g, `${prefix}_$1`)
    .replace('DATABASE refold ', `DATABASE ${prefix} `)
    .split(';')
    .filter((statement) => statement.trim() !== '')
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  t.teardown(async () => {
    await client.query(`DROP DATABASE IF EXISTS ${prefix} WITH (FORCE)`)
    for (const role of ['login', 'engine', 'api', 'reader']) await client.query(`DROP ROLE IF EXISTS ${prefix}_${role}`)
    await client.end()
  })
  for (const statement of statements) await client.query(statement)
  const roles = async (engine: string, api: string) => {
    const { rows } = await client.query(
      'SELECT rolbypassrls, rolcanlogin, rolsuper, rolcreaterole FROM pg_roles WHERE rolname IN ($1, $2) ORDER BY rolname = $1',
      [engine, api],
    )
    return rows as unknown[]
  }
  t.same(await roles(`${prefix}_engine`, `${prefix}_api`), [
    { rolbypassrls: false, rolcanlogin: false, rolsuper: false, rolcreaterole: false },
    { rolbypassrls: true, rolcanlogin: false, rolsuper: false, rolcreaterole: false },
  ])
  const { rows } = await client.query(
    `SELECT pg_has_role($1, $2, 'SET') AS engine, pg_has_role($1, $3, 'SET') AS api, has_database_privilege($1, $4, 'CREATE') AS may`,
    [`${prefix}_login`, `${prefix}_engine`, `${prefix}_api`, prefix],
  )
  t.same(rows, [{ engine: true, api: true, may: true }])
})

void t.test('no page names a file or a heading that is not there', async (t) => {
  const anchor = (heading: string) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .trim()
      .replaceAll(' ', '-')
  const anchors = (file: string) => [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading ?? ''))
  const pages = globSync('**/*.md', { cwd: DOCS }).map((name) => path.join(DOCS, name))
  t.ok(pages.length > 8)
  for (const file of pages)
    for (const [, link = ''] of readFileSync(file, 'utf8').matchAll(/\]\((?!https?:)([^)\s]+)\)/g)) {
      const [to = '', heading] = link.split('#')
      const target = to === '' ? file : path.join(path.dirname(file), to)
      const found = existsSync(target) && (heading === undefined || anchors(target).includes(heading))
      t.ok(found, `${path.relative(DOCS, file)}: ${link}`)
    }
  const helps = Object.values(CATALOGUE).flatMap(({ help }) => [...help.matchAll(/docs\/([\w.-]+)(?:#([\w-]+))?/g)])
  t.ok(helps.length > 2)
  for (const [text, name = '', heading] of helps)
    t.ok(existsSync(path.join(DOCS, name)) && (heading === undefined || anchors(path.join(DOCS, name)).includes(heading)), text)
})

void t.test('flow.md names errors and verdicts that exist', async (t) => {
  const flow = read('flow.md')
  const named = [...flow.matchAll(/(?:──▶|·)\s+(?:\d{3} )?([a-z]+-[a-z-]+)/g)].flatMap(([, code]) => code ?? [])
  t.ok(named.length > 10, named.join(' '))
  const format = read('format.md')
  for (const code of named) t.ok(code in CATALOGUE || format.includes(code), code)
})
