// What the demo shows once the permit log is in: over REST, as anybody may ask for it.

import { z } from 'zod'
import { type ApiAddress, createClient } from '../client.ts'
import { count } from '../import/progress.ts'
import { sheet, table } from '../table.ts'

const executions = z.object({
  executions: z.array(z.object({ executionId: z.string(), key: z.string().nullable(), currentState: z.string(), lastSeq: z.number() })),
  nextCursor: z.string().nullable(),
})

const execution = z.object({ data: z.record(z.string(), z.unknown()), position: z.string() })

const history = z.object({
  events: z.array(
    z.object({ seq: z.number(), created_at: z.string(), from_state: z.string(), to_state: z.string(), user_id: z.string().nullable() }),
  ),
})

type Execution = z.infer<typeof executions>['executions'][number]
type Client = ReturnType<typeof createClient>

async function permits(client: Client): Promise<Execution[]> {
  const all: Execution[] = []
  let cursor: string | undefined
  do {
    const page = await client.get('v1/executions', executions, { workflow: 'permit', limit: 500, cursor })
    all.push(...page.executions)
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined)
  return all
}

const MOST_STATES = 6

function states(all: readonly Execution[]): string {
  const counts = new Map<string, number>()
  for (const { currentState } of all) counts.set(currentState, (counts.get(currentState) ?? 0) + 1)
  const rows = [...counts].toSorted(([, a], [, b]) => b - a)
  const shown = rows.slice(0, MOST_STATES).map(([state, cases]) => [count(cases).padStart(6), state])
  const others = rows.slice(MOST_STATES)
  if (others.length > 0)
    shown.push([count(others.reduce((sum, [, cases]) => sum + cases, 0)).padStart(6), `in ${others.length} other states`])
  return table([' CASES', 'STATE'], shown)
}

/** One with a history that fits a screen and tells a little. */
function telling(all: readonly Execution[]): Execution | undefined {
  const byKey = all.toSorted((a, b) => ((a.key ?? '') < (b.key ?? '') ? -1 : 1))
  return byKey.find(({ lastSeq }) => lastSeq >= 8 && lastSeq <= 12) ?? byKey[0]
}

async function oneOf(client: Client, { executionId, key, currentState }: Execution): Promise<string> {
  const { data, position } = await client.get(`v1/executions/${executionId}`, execution)
  const { events } = await client.get(`v1/executions/${executionId}/events`, history)
  const rows = events.map((event) => [
    String(event.seq),
    event.created_at.slice(0, 16).replace('T', ' '),
    event.user_id ?? '',
    event.to_state,
  ])
  return [
    `One of them, ${key}, from its history alone:`,
    '',
    table(['SEQ', 'CREATED (UTC)', 'BY', 'TO STATE'], rows),
    '',
    sheet([
      ['currentState', currentState],
      ['data', JSON.stringify(data)],
      ['position', `${position}: partition and offset of its newest record in Kafka`],
    ]),
  ].join('\n')
}

const invitation = ({ url, token }: ApiAddress, { executionId }: Execution) =>
  [
    'Try it while this runs (it stays up, unless with --once):',
    '',
    `  curl -s -H 'Authorization: Bearer ${token}' ${url}/v1/executions/${executionId}/events`,
    `  curl -s -H 'Authorization: Bearer ${token}' '${url}/v1/executions?workflow=permit&limit=3'`,
    `  npm run refold -- executions show ${executionId}`,
    `  ${url}/openapi.json`,
  ].join('\n')

/** The text of the tour. */
export async function tour(api: ApiAddress): Promise<string> {
  const client = createClient(api)
  const all = await permits(client)
  const events = all.reduce((sum, { lastSeq }) => sum + lastSeq, 0)
  const shown = telling(all)
  const parts = [`${count(all.length)} executions, ${count(events)} events accepted. Where the permits stand:`, states(all)]
  if (shown) parts.push(await oneOf(client, shown), invitation(api, shown))
  return parts.join('\n\n')
}
