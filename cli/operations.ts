// `refold operation`: what is being done to projections, on the server.

import type { Command } from 'commander'
import { z } from 'zod'
import type { Client } from './client.ts'
import { answer, asJson, columns, example, JSON_OPTION, openClient, type Output, print, segment, whole } from './output.ts'
import { table } from './table.ts'

/** As the API shows it. */
export const operation = z.object({
  id: z.string(),
  projection: z.string(),
  kind: z.string(),
  generation: z.number().nullable(),
  state: z.string(),
  reason: z.string(),
  progress: z.looseObject({
    done: z.number().optional(),
    total: z.number().optional(),
    rate: z.number().optional(),
    secondsLeft: z.number().nullish(),
    parked: z.array(z.string()).optional(),
    unfolded: z.boolean().optional(),
    behind: z.number().optional(),
  }),
  comparison: z
    .looseObject({
      differing: z.number(),
      notCompared: z.string().optional(),
      partitions: z.array(
        z.object({
          partition: z.number(),
          at: z.number(),
          live: z.number(),
          built: z.number(),
          differing: z.number(),
          shown: z.array(z.object({ table: z.string(), kind: z.string(), key: z.record(z.string(), z.unknown()) })),
        }),
      ),
    })
    .nullable(),
  log: z.array(z.object({ at: z.string(), line: z.string() })),
  wanted: z.string().nullable(),
  requestedAt: z.string(),
  endedAt: z.string().nullable(),
})
type Operation = z.infer<typeof operation>

const OVER = new Set(['done', 'aborted', 'failed'])

function progressLine({ state, progress }: Operation): string {
  const { done, total, rate, secondsLeft, parked = [], unfolded = false, behind = 0 } = progress
  const why = [
    ...(parked.length > 0 ? [`parked at ${parked.join(', ')}`] : []),
    ...(unfolded ? ['no process folds it'] : []),
    ...(behind > 0 ? [`backs off: what people read is ${behind} records behind`] : []),
  ]
  const stands = OVER.has(state) ? '' : why.map((one) => `, ${one}`).join('')
  if (done === undefined || total === undefined) return `${state}${stands}`
  const left = secondsLeft == null ? '' : `, ${secondsLeft} s left`
  return `${state}: ${done} of ${total} records, ${rate ?? 0}/s${left}${stands}`
}

async function find(client: Client, id: string): Promise<Operation> {
  return client.get(`v1/operations/${segment(id)}`, operation)
}

/** Whoever runs takes an operation up within a second; after so long, ms, somebody is told that nobody did. */
const UNTAKEN = 3000

async function whyUntaken(client: Client, { projection: name }: Operation): Promise<string> {
  const { foldedBy } = await client.get(`v1/projections/${segment(name)}`, z.object({ foldedBy: z.number().nullable() }))
  // Those of the recorder are folded by it.
  if (foldedBy === null) return 'no process has taken it up yet: it begins when one with --roles recorder runs'
  const why = foldedBy === 0 ? `no process folds ${name}` : 'no process has taken it up yet'
  return `${why}: it begins when one with --roles projector and an application that defines ${name} runs`
}

/** Follows an operation until it is over, or waits for a person. */
export async function watch(id: string, output: Output): Promise<void> {
  const client = await openClient()
  const began = performance.now()
  let said = ''
  let lines = 0
  let isHinted = false
  for (;;) {
    const now = await find(client, id)
    const line = progressLine(now)
    if (now.state === 'requested' && !isHinted && performance.now() - began > UNTAKEN) {
      isHinted = true
      process.stderr.write(`${await whyUntaken(client, now)}\n`)
    }
    if (!asJson(output)) {
      for (const { at, line: step } of now.log.slice(lines)) print(`${at}  ${step}`)
      if (line !== said) print(line)
    }
    lines = now.log.length
    said = line
    // One that is asked to be promoted or aborted goes on by itself.
    const isReady = now.state === 'ready' && now.wanted === null
    if (OVER.has(now.state) || isReady) {
      if (asJson(output)) print(JSON.stringify(now))
      else if (isReady) print(`ready: look at \`refold projection diff ${now.projection}\`, then promote or abort`)
      if (now.state === 'failed' || now.state === 'aborted') process.exitCode = 1
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

async function listOperations({ limit, ...output }: Output & { limit: number }): Promise<void> {
  await answer('/v1/operations', { query: { limit } }, output, ({ text }) => {
    const all = z.object({ operations: z.array(operation) }).parse(JSON.parse(text)).operations
    const cells = all.map((one) => [
      one.id,
      one.projection,
      one.kind,
      String(one.generation ?? ''),
      progressLine(one),
      one.requestedAt,
      one.reason,
    ])
    print(
      cells.length === 0
        ? 'None.'
        : table(['OPERATION', 'PROJECTION', 'KIND', 'GENERATION', 'STATE', 'REQUESTED', 'REASON'], cells, columns()),
    )
  })
}

export function register(program: Command): void {
  const ops = program.command('operation').description('what is being done to projections')
  ops
    .command('list')
    .description('the newest first')
    .option('--limit <count>', 'at most so many', whole, 20)
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold operation list'))
    .action(listOperations)
  ops
    .command('watch')
    .description('follow one until it is over, or waits for you')
    .argument('<id>', 'id of the operation')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold operation watch 0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'))
    .action(watch)
}
