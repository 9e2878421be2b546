// `refold verdicts`: records that were not accepted, why, and how to send them once more.

import type { Command } from 'commander'
import { z } from 'zod'
import { answer, asJson, columns, example, JSON_OPTION, openClient, type Output, print, segment, whole } from './output.ts'
import { inWords } from './receipts.ts'
import { oneLine, sheet, table } from './table.ts'

const refusal = z.object({
  position: z.string(),
  verdict: z.string(),
  reason: z.string(),
  tenant: z.string().nullable(),
  execution_id: z.string().nullable(),
  event_name: z.string().nullable(),
  appended_at: z.string(),
  detail: z.string(),
})
const page = z.object({ verdicts: z.array(refusal), nextCursor: z.string().nullable() })

type ListOptions = Output & { verdict?: string; reason?: string; execution?: string; limit: number; cursor?: string }

async function list({ execution, json, ...query }: ListOptions): Promise<void> {
  await answer('/v1/verdicts', { query: { ...query, execution_id: execution } }, json === undefined ? {} : { json }, ({ text }) => {
    const { verdicts, nextCursor } = page.parse(JSON.parse(text))
    if (verdicts.length === 0) {
      print('No record was refused that fits.')
      return
    }
    const rows = verdicts.map((one) => [
      one.position,
      one.appended_at,
      one.verdict,
      one.reason,
      one.tenant ?? '–',
      one.event_name ?? '–',
      one.detail,
    ])
    print(table(['POSITION', 'APPENDED', 'VERDICT', 'REASON', 'TENANT', 'EVENT', 'DETAIL'], rows, columns()))
    if (nextCursor !== null) print(`\nThere are more: --cursor ${nextCursor}`)
  })
}

const judged = z.object({
  position: z.string(),
  verdict: z.string(),
  seq: z.number().optional(),
  reason: z.string().optional(),
  detail: z.string().optional(),
  tenant: z.string().nullish(),
  execution_id: z.string().nullish(),
  event_id: z.string().nullish(),
  event_name: z.string().nullish(),
  appended_at: z.string().optional(),
  decided_at: z.string().optional(),
  record: z.object({ key: z.string().nullable(), value: z.string().nullable() }).optional(),
  redrivable: z.boolean().optional(),
})

/** Kept bytes as a person can read them: length, and the printable text of the first. */
function inBytes(base64: string | null | undefined): string {
  if (base64 === null || base64 === undefined) return 'not kept'
  const bytes = Buffer.from(base64, 'base64')
  return `${bytes.length} bytes  ${oneLine(bytes.subarray(0, 200).toString('latin1'), 80)}`
}

async function show(position: string, output: Output): Promise<void> {
  await answer(`/v1/verdicts/${segment(position)}`, {}, output, ({ text }) => {
    const one = judged.parse(JSON.parse(text))
    const kept = one.record && [
      ['key', inBytes(one.record.key)] as const,
      ['value', inBytes(one.record.value)] as const,
      ['redrive', one.redrivable ? `refold verdicts redrive ${one.position}` : 'not possible'] as const,
    ]
    print(
      sheet([
        ['position', one.position],
        ['verdict', inWords(one)],
        ['detail', one.detail ?? ''],
        ['tenant', one.tenant ?? ''],
        ['execution', one.execution_id ?? ''],
        ['event', [one.event_name, one.event_id].filter((part) => typeof part === 'string').join(' ')],
        ['appended', one.appended_at ?? ''],
        ['decided', one.decided_at ?? ''],
        ...(kept ?? []),
      ]),
    )
  })
}

const redriven = judged.pick({ position: true, seq: true, reason: true, detail: true }).extend({ verdict: z.string().optional() })

/** Judged again with the same end: the cause is not mended. */
const isWell = ({ verdict = 'accepted' }: z.infer<typeof redriven>) => ['pending', 'accepted', 'duplicate'].includes(verdict)

/** One after the other, in the order given; the first that is not taken ends it, and those before it stand. */
async function redrive(positions: readonly string[], { wait, ...output }: Output & { wait: number }): Promise<void> {
  const client = await openClient()
  for (const position of positions) {
    const { text } = await client.call(`/v1/verdicts/${segment(position)}/redrive`, {
      method: 'POST',
      headers: { prefer: `wait=${wait}` },
    })
    const one = redriven.parse(JSON.parse(text))
    if (asJson(output)) print(text)
    else print(oneLine(`${position} → ${one.position}  ${inWords(one)}${one.detail ? `: ${one.detail}` : ''}`, columns()))
    if (!isWell(one)) process.exitCode = 1
  }
}

export function register(program: Command): void {
  const group = program
    .command('verdicts')
    .description('records that were not accepted: why, and once more')
    .addHelpText('after', '\nRecords whose tenant could not be read are shown to operators’ tokens only.')

  group
    .command('list')
    .description('records that were not accepted, the newest first in each partition')
    .option('--verdict <verdict>', 'duplicate, conflict, late, early or quarantined')
    .option('--reason <reason>', 'as wrong-partition, undecodable, other-content')
    .option('--execution <id>', 'of this execution')
    .option('--limit <count>', 'at most so many', whole, 50)
    .option('--cursor <cursor>', 'go on where the page before ended')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold verdicts list --verdict quarantined --reason wrong-partition'))
    .action(list)

  group
    .command('show')
    .description('what became of the record at a position, and what is kept of it')
    .argument('<position>', 'of the record, as p7:120345')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold verdicts show p7:120345'))
    .action(show)

  group
    .command('redrive')
    .description('append records that were not accepted once more, as they were, once their cause is mended')
    .argument('<position...>', 'of the records, as p7:120345')
    .option('--wait <seconds>', 'wait so long, at most 60, for each new verdict', whole, 10)
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold verdicts redrive p7:120345 p7:120346'))
    .action(redrive)
}
