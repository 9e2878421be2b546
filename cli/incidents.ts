// `refold incidents`: what needs a person.

import type { Command } from 'commander'
import { z } from 'zod'
import { answer, columns, example, JSON_OPTION, type Output, print, whole } from './output.ts'
import { table } from './table.ts'

const page = z.object({
  incidents: z.array(
    z.object({
      kind: z.string(),
      executionId: z.string().nullable(),
      partition: z.number().nullable(),
      summary: z.string(),
      openedAt: z.string(),
      closedAt: z.string().nullable(),
    }),
  ),
  nextCursor: z.string().nullable(),
})

function tell(incidents: z.infer<typeof page>['incidents']): void {
  const rows = incidents.map((one) => [
    one.openedAt,
    one.closedAt === null ? 'open' : 'closed',
    one.kind,
    one.executionId ?? (one.partition === null ? '' : `partition ${one.partition}`),
    one.summary,
  ])
  print(table(['OPENED', 'STATE', 'KIND', 'OF', 'SUMMARY'], rows, columns()))
}

async function list({ json, ...query }: Output & { state: string; limit: number; cursor?: string }): Promise<void> {
  await answer('/v1/incidents', { query }, json === undefined ? {} : { json }, ({ text }) => {
    const { incidents, nextCursor } = page.parse(JSON.parse(text))
    if (incidents.length === 0) print('None.')
    else tell(incidents)
    if (nextCursor !== null) print(`\nThere are more: --cursor ${nextCursor}`)
  })
}

export function register(program: Command): void {
  program
    .command('incidents')
    .description('what needs a person, the newest first; each closes by itself once it is mended')
    .option('--state <state>', 'open, closed or all', 'open')
    .option('--limit <count>', 'at most so many', whole, 50)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold incidents', 'refold executions diagnosis <id of the execution>'))
    .action(list)
}
