// `refold projection`: read models, and what a person asks of them. Every change runs on the server, as an operation: a terminal
// may be closed at any time.

import type { Command } from 'commander'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { answer, asJson, columns, example, JSON_OPTION, openClient, type Output, print, segment, whole } from './output.ts'
import { operation, watch } from './operations.ts'
import { oneLine, sheet, table } from './table.ts'

const JSON_BODY = { 'content-type': 'application/json' }

const projection = z.object({
  name: z.string(),
  version: z.number(),
  liveGeneration: z.number().nullable(),
  previousGeneration: z.number().nullable(),
  stoppedAt: z.string().nullable(),
  generations: z.array(
    z.object({ generation: z.number(), version: z.number(), state: z.string(), madeAt: z.string(), parked: z.array(z.string()) }),
  ),
  lag: z.number(),
  watermark: z.string(),
  parked: z.array(z.string()),
  tables: z.array(z.object({ name: z.string(), key: z.array(z.string()), columns: z.record(z.string(), z.string()), view: z.string() })),
  operation: z.string().nullable(),
  foldedBy: z.number().nullable(),
})
type Shown = z.infer<typeof projection>

/** The recorder's own tables: its group is theirs, and it stops with its processes. */
const DERIVED = 'derived'

const groupOf = ({ name, liveGeneration }: Shown, prefix: string) =>
  name === DERIVED ? `${prefix}.recorder` : `${prefix}.projection.${name}.g${liveGeneration}`

/** Kafka's own way to ask for a rebuild, to be copied. */
const resetCommand = (one: Shown, prefix: string) =>
  `kafka-consumer-groups --bootstrap-server <host:port> --group ${groupOf(one, prefix)} --topic ${prefix}.events --reset-offsets --to-earliest --execute`

/** Of the generation that people read; after a deploy of another version it is not the code's own. */
const liveVersion = ({ generations, liveGeneration, version }: Shown) =>
  generations.find(({ generation }) => generation === liveGeneration)?.version ?? version

function stateOf(one: Shown, isShort: boolean): string {
  const { name, stoppedAt, parked, foldedBy } = one
  if (stoppedAt !== null) return isShort ? 'stopped' : `stopped since ${stoppedAt}`
  if (foldedBy === 0)
    return isShort
      ? 'no process'
      : `no process folds it: start an application that defines ${name} version ${liveVersion(one)} with --roles projector`
  if (parked.length === 0) return 'runs'
  return isShort ? 'parked' : `parked at ${parked.join(', ')}: see \`refold incidents\`, then mend the code or \`refold projection skip\``
}

const prefixOf = () => process.env['REFOLD_TOPIC_PREFIX'] || 'refold'

async function list(output: Output): Promise<void> {
  await answer('/v1/projections', {}, output, ({ text }) => {
    const { projections } = z.object({ projections: z.array(projection) }).parse(JSON.parse(text))
    if (projections.length === 0) {
      print('No projection is known: give an application with some to `refold start --app`.')
      return
    }
    const cells = projections.map((one) => [
      one.name,
      String(one.version),
      String(one.liveGeneration ?? ''),
      stateOf(one, true),
      String(one.lag),
      one.operation ?? '',
    ])
    print(table(['PROJECTION', 'VERSION', 'GENERATION', 'STATE', 'LAG', 'OPERATION'], cells, columns()))
    print(
      "\nTo rebuild one with Kafka's own tool: stop it (`refold projection stop <name>`; for derived the processes of role recorder), then, and start it again:",
    )
    for (const one of projections) print(`  ${resetCommand(one, prefixOf())}`)
  })
}

async function show(name: string, output: Output): Promise<void> {
  await answer(`/v1/projections/${segment(name)}`, {}, output, ({ text }) => {
    const one = projection.parse(JSON.parse(text))
    print(
      sheet([
        ['projection', one.name],
        ['version', String(one.version)],
        ['state', stateOf(one, false)],
        ['lag', `${one.lag} events`],
        ['watermark', one.watermark],
        [
          'in SQL',
          one.name === DERIVED
            ? 'refold.workflow_executions, _actions, _timers, _waits, _snapshots'
            : one.tables.map(({ name: of }) => `projections.${of}`).join(', '),
        ],
        ['key', one.tables.map(({ key }) => key.join(', ')).join(' · ')],
        ['operation', one.operation ?? ''],
      ]),
    )
    print('')
    const cells = one.generations.map(({ generation, version, state, madeAt, parked }) => [
      String(generation),
      String(version),
      parked.length === 0 ? state : `${state}, parked at ${parked.join(', ')}`,
      madeAt,
    ])
    print(table(['GENERATION', 'VERSION', 'STATE', 'MADE'], cells, columns()))
  })
}

async function plan(name: string, output: Output): Promise<void> {
  const shape = z.object({
    records: z.number(),
    rate: z.number().nullable(),
    seconds: z.number().nullable(),
    bytes: z.number(),
    notSentAgain: z.string(),
    thenToDo: z.array(z.string()),
  })
  await answer(`/v1/projections/${segment(name)}/plan`, { method: 'POST', body: '{}', headers: JSON_BODY }, output, ({ text }) => {
    const one = shape.parse(JSON.parse(text))
    print(
      sheet([
        ['records', String(one.records)],
        ['rate', one.rate === null ? 'not known: nothing was built yet' : `${one.rate} records/s, as the newest build`],
        ['takes', one.seconds === null ? 'not known' : `about ${one.seconds} s`],
        ['space', `about ${(one.bytes / 1e6).toFixed(1)} MB, as much as the live generation, until one of them is retired`],
        ['not sent again', one.notSentAgain],
      ]),
    )
    print(`then\n${one.thenToDo.map((line) => `  ${line}`).join('\n')}`)
  })
}

async function rows(
  name: string,
  { where = [], limit, cursor, ...output }: Output & { where?: string[]; limit: number; cursor?: string },
): Promise<void> {
  const [bare] = where.filter((pair) => !pair.includes('='))
  if (bare !== undefined) throw new RefoldError('usage', `--where ${bare}: it is <column>=<value>`)
  const filters = Object.fromEntries(where.map((pair) => [pair.split('=')[0] ?? '', pair.slice(pair.indexOf('=') + 1)]))
  await answer(`/v1/projections/${segment(name)}/rows`, { query: { ...filters, limit, cursor } }, output, ({ text }) => {
    const page = z.object({ rows: z.array(z.record(z.string(), z.unknown())), nextCursor: z.string().nullable() }).parse(JSON.parse(text))
    const [first] = page.rows
    if (!first) {
      print('No row fits.')
      return
    }
    const names = Object.keys(first)
    const cells = page.rows.map((row) =>
      names.map((column) => (typeof row[column] === 'string' ? row[column] : JSON.stringify(row[column] ?? ''))),
    )
    print(
      table(
        names.map((column) => column.toUpperCase()),
        cells,
        columns(),
      ),
    )
    if (page.nextCursor !== null) print(`\nThere are more: --cursor ${page.nextCursor}`)
  })
}

const provenanceShape = z.object({
  steps: z.array(
    z.looseObject({
      position: z.string(),
      event_name: z.string(),
      execution_id: z.string(),
      changed: z.record(z.string(), z.object({ from: z.unknown(), to: z.unknown() })),
      error: z.string().optional(),
      skipped: z.string().optional(),
    }),
  ),
  nextCursor: z.string().nullable(),
})

async function provenance(
  name: string,
  key: string,
  { limit, cursor, ...output }: Output & { limit: number; cursor?: string },
): Promise<void> {
  await answer(`/v1/projections/${segment(name)}/rows/${segment(key)}/provenance`, { query: { limit, cursor } }, output, ({ text }) => {
    const { steps, nextCursor } = provenanceShape.parse(JSON.parse(text))
    const cells = steps.map(({ position, event_name: event, execution_id: execution, changed, error, skipped }) => [
      position,
      event,
      execution,
      error ??
        (skipped === undefined ? undefined : `passed: ${skipped}`) ??
        Object.entries(changed)
          .map(([column, { from, to }]) => `${column}: ${JSON.stringify(from)} → ${JSON.stringify(to)}`)
          .join(', '),
    ])
    if (cells.length > 0) print(table(['POSITION', 'EVENT', 'EXECUTION', 'CHANGED'], cells, columns()))
    if (nextCursor !== null) print(`\nNot all events were looked at: --cursor ${nextCursor}`)
  })
}

const ask =
  (verb: string) =>
  async (
    name: string,
    { reason, generation, wait, ...output }: Output & { reason?: string; generation?: number; wait?: boolean },
  ): Promise<void> => {
    const body = JSON.stringify({ reason, generation })
    const { text } = await (
      await openClient()
    ).call(`/v1/projections/${segment(name)}/${verb}`, { method: 'POST', body, headers: JSON_BODY })
    if (asJson(output)) print(text)
    const asked = z.object({ operation: z.string().nullable(), detail: z.string() }).parse(JSON.parse(text))
    if (!asJson(output)) print(asked.operation === null ? asked.detail : `${asked.detail}: operation ${asked.operation}`)
    if (wait === true && asked.operation !== null) await watch(asked.operation, output)
  }

/** Both ways: what a row is in one generation and not in the other. Rows are compared as they are now, of all partitions. */
function diffSql({ name, tables }: Shown, built: number, live: number): readonly string[] {
  return tables.flatMap(({ name: of, columns: types }) => {
    const all = Object.entries(types).map(([column, type]) => (type === 'json' ? `"${column}"::jsonb` : `"${column}"`))
    const rowsOf = (generation: number) => `SELECT tenant, partition, ${all.join(', ')} FROM "refold_p_${name}_g${generation}"."${of}"`
    return [`${rowsOf(built)} EXCEPT ${rowsOf(live)};`, `${rowsOf(live)} EXCEPT ${rowsOf(built)};`]
  })
}

/** Of the keys that differ only some are kept, and those are operators' to see. */
function tellMore(
  one: Shown,
  { generation, state }: Pick<z.infer<typeof operation>, 'generation' | 'state'>,
  shown: number,
  more: number,
): void {
  if (shown === 0) return void print(`\nTheir keys are shown to operators only.`)
  const other = state === 'done' ? one.previousGeneration : one.liveGeneration
  const isKept = (which: number | null) => one.generations.some(({ generation: of }) => of === which)
  print(`\n… and ${more} more: at most 100 of a partition are kept.`)
  if (one.name === DERIVED || generation === null || other === null || !isKept(generation) || !isKept(other)) return
  print(
    `In SQL, those of rows as they are now:\n${diffSql(one, generation, other)
      .map((line) => `  ${line}`)
      .join('\n')}`,
  )
}

async function diff(name: string, output: Output): Promise<void> {
  const client = await openClient()
  const { operations } = await client.get('v1/operations', z.object({ operations: z.array(operation) }), {
    limit: 200,
    projection: name,
  })
  const newest = operations.find((one) => one.comparison !== null)
  if (!newest?.comparison) {
    // Refused where there is none of that name.
    await client.get(`v1/projections/${segment(name)}`, projection)
    const nothing = `Nothing of ${name} was compared yet: refold projection rebuild ${name}\n`
    if (asJson(output)) print('null')
    return void process[asJson(output) ? 'stderr' : 'stdout'].write(nothing)
  }
  const { comparison, generation, state, id, endedAt } = newest
  if (asJson(output)) return void print(JSON.stringify({ operation: id, state, generation, ...comparison }))
  if (comparison.notCompared !== undefined) return void print(`Not compared: ${comparison.notCompared}`)
  // Once it is over, another one may be live than the one it was compared with.
  const since = state === 'done' ? `promoted at ${endedAt}` : `of an operation that is ${state}`
  const what = endedAt === null ? `${generation} beside the live one` : `${generation}, ${since}, beside the one that was live before`
  print(`${comparison.differing} differing rows; generation ${what}, at equal positions:`)
  const counts = comparison.partitions.map((one) => [
    `p${one.partition}:${one.at}`,
    String(one.live),
    String(one.built),
    String(one.differing),
  ])
  print(table(['POSITION', 'LIVE ROWS', 'BUILT ROWS', 'DIFFERING'], counts, columns()))
  const shown = comparison.partitions.flatMap((one) => one.shown)
  if (shown.length > 0) {
    const cells = shown.map((one) => [one.kind, one.table, oneLine(JSON.stringify(one.key))])
    print(`\n${table(['KIND', 'TABLE', 'KEY'], cells, columns())}`)
  }
  const more = comparison.differing - shown.length
  if (more > 0) tellMore(await client.get(`v1/projections/${segment(name)}`, projection), newest, shown.length, more)
}

const KEEPS_REASON = new Set(['rebuild', 'reset', 'promote', 'rollback', 'abort'])

const ASKED = [
  ['rebuild', 'build a new generation beside the live one; it stops before promotion, for you to look at the differences'],
  ['reset', 'the same, promoted when it has caught up'],
  ['promote', 'make the generation that is ready the live one'],
  ['rollback', 'make the generation before the live one again'],
  ['abort', 'give the open operation up; what it built is dropped'],
  ['withdraw', "the newest version's code was taken back: the live generation's version is the newest again"],
  ['retire', 'drop a generation that is not live'],
  ['stop', "stop folding: its consumer groups are empty then, as Kafka's reset tool wants them"],
  ['start', 'fold again, after a stop'],
  ['skip', 'pass the events at which it is parked'],
] as const

export function register(program: Command): void {
  const group = program.command('projection').description('read models: how they stand, rebuild, compare, promote, go back')
  group
    .command('list')
    .description('all of them')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold projection list'))
    .action(list)
  const ofOne = (name: string, about: string) =>
    group
      .command(name)
      .description(about)
      .argument('<name>', 'its name')
      .option(...JSON_OPTION)
      .addHelpText('after', example(`refold projection ${name} executions_by_state`))
  ofOne('show', 'one of them, with its generations').action(show)
  ofOne('rows', 'its rows, in order of the key')
    .option('--where <column=value...>', "filters by the key's columns")
    .option('--limit <count>', 'at most so many', whole, 50)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .action(rows)
  group
    .command('provenance')
    .description('the events that made a row of a fold, and what each changed')
    .argument('<name>', 'its name')
    .argument('<key>', 'value of the key column; of several, a JSON array of their values')
    .option('--limit <count>', 'at most so many', whole, 50)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold projection provenance actions_by_name reserve'))
    .action(provenance)
  ofOne('plan', 'what a rebuild would do; changes nothing').action(plan)
  ofOne('diff', 'what the newest rebuild found to differ').action(diff)
  for (const [verb, about] of ASKED) {
    const command = ofOne(verb, about)
    if (verb === 'skip') command.requiredOption('--reason <text>', 'why these events may be passed; kept')
    else if (KEEPS_REASON.has(verb)) command.option('--reason <text>', 'why; kept with the operation')
    if (verb === 'retire') command.option('--generation <n>', 'this one; without it the one before the live one', whole)
    if (verb === 'rebuild' || verb === 'reset' || verb === 'rollback' || verb === 'promote')
      command.option('--wait', 'follow it; it runs on if you leave')
    command.action(ask(verb))
  }
}
