// `refold receipts`: what became of an event that was sent.

import type { Command } from 'commander'
import { z } from 'zod'
import { answer, columns, example, JSON_OPTION, type Output, print, segment, whole } from './output.ts'
import { sheet, table } from './table.ts'

const said = z.object({
  verdict: z.string(),
  seq: z.number().optional(),
  position: z.string().optional(),
  reason: z.string().optional(),
  detail: z.string().optional(),
})
const receipt = said.extend({
  event_id: z.string(),
  execution_id: z.string(),
  records: z.array(said.extend({ appended_at: z.string() })),
})

/** A verdict in words: `accepted as 3`, `quarantined (wrong-partition)`. */
export function inWords({ verdict, seq, reason }: { verdict?: string | undefined; seq?: number | undefined; reason?: string | undefined }) {
  if (seq !== undefined) return `${verdict} as ${seq}`
  return reason === undefined ? (verdict ?? '') : `${verdict} (${reason})`
}

type ShowOptions = Output & { position?: string; wait?: number }

async function show(execution: string, event: string, { position, wait, ...output }: ShowOptions): Promise<void> {
  const headers = wait === undefined ? {} : { headers: { prefer: `wait=${wait}` } }
  const path = `/v1/executions/${segment(execution)}/receipts/${segment(event)}`
  await answer(path, { query: { position }, ...headers }, output, ({ text }) => {
    const one = receipt.parse(JSON.parse(text))
    print(
      sheet([
        ['event', one.event_id],
        ['execution', one.execution_id],
        ['verdict', inWords(one)],
        ['detail', one.detail ?? ''],
        ['position', one.position ?? ''],
      ]),
    )
    if (one.records.length < 2) return
    const rows = one.records.map((record) => [record.position ?? '', record.appended_at, inWords(record), record.detail ?? ''])
    print(`\n${table(['POSITION', 'APPENDED', 'VERDICT', 'DETAIL'], rows, columns())}`)
  })
}

export function register(program: Command): void {
  const group = program.command('receipts').description('what became of events that were sent')
  group
    .command('show')
    .description('the verdict on an event, and every record that carried its id')
    .argument('<execution>', 'id of the execution')
    .argument('<event>', 'id of the event')
    .option('--position <position>', 'of the record, as the append answered; `pending` until the recorder has passed it')
    .option('--wait <seconds>', 'with --position: wait so long, at most 60, for its verdict', whole)
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      example(
        'refold receipts show 0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01 33333333-3333-4333-8333-333333333333 --position p7:120345 --wait 10',
      ),
    )
    .action(show)
}
