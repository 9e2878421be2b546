// GET …/changes as a browser reads it: server-sent events, resumed by Last-Event-ID. (Lines, and kills: projection-changes.test.ts.)

import path from 'node:path'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(240_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'change-app.ts')
const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`

type Told = { event: string; data: Record<string, unknown>; id: string }

/** What EventSource does: the last id is kept for the next connection, whichever event carried it. */
function follow(url: string, { token = 'token', lastEventId = '', query = '' } = {}) {
  const leave = new AbortController()
  const told: Told[] = []
  const state = { told, lastEventId, over: Promise.resolve(), leave: () => (leave.abort(), state.over) }
  const read = async () => {
    const headers = {
      authorization: `Bearer ${token}`,
      accept: 'text/event-stream',
      ...(lastEventId ? { 'last-event-id': lastEventId } : {}),
    }
    const { body } = await fetch(`${url}/v1/projections/open_cases/changes${query}`, { headers, signal: leave.signal })
    let text = ''
    for await (const chunk of body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const fields = new Map(
          text
            .slice(0, end)
            .split('\n')
            .map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
        )
        text = text.slice(end + 2)
        state.lastEventId = fields.get('id') ?? state.lastEventId
        const data = fields.get('data')
        if (data !== undefined)
          told.push({ event: fields.get('event') ?? 'message', data: JSON.parse(data) as Told['data'], id: fields.get('id') ?? '' })
      }
    }
  }
  state.over = read().catch(() => undefined)
  return state
}

const kinds = (told: readonly Told[]) => [...new Set(told.map(({ event }) => event))]
const executions = (told: readonly Told[], event = 'row') =>
  told
    .filter((one) => one.event === event)
    .map(({ data }) => String(event === 'removed' ? (data['key'] as { execution: string }).execution : data['execution']))
    .toSorted()
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => executionOf(from + i))

t.test('snapshot, then what changes, on after Last-Event-ID without a gap and none twice; swaps and lost points are told', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant,other=stranger')
  Object.assign(installation.env, { REFOLD_OPERATOR_TOKENS: 'token' })
  const { url } = await startRefold(t, installation, 'api,recorder,projector', { app: APP })
  const rest = restOf(url, 'token')
  let sent = 0
  const send = async (from: number, to: number, state: string) => {
    const events = range(from, to).map((execution_id) => ({ execution_id, event_name: `case.${state}`, to_state: state }))
    const answer = await rest.send(events)
    if (answer.status !== 202) throw new Error(answer.text)
    sent += events.length
    await until(
      async () => {
        const { rows } = await installation.database.admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')
        return Number(rows[0]?.n) === sent && ((await rest.get('/v1/projections/open_cases')).json() as { lag: number }).lag === 0
      },
      { within: 60_000, every: 50, what: 'it to be folded' },
    )
  }
  const has = (told: readonly Told[], event: string) => until(() => told.some((one) => one.event === event), { what: event })

  // Of most partitions nothing is known yet: an id is taken back all the same, and what comes there meanwhile is told.
  await send(0, 1, 'opened')
  const sole = follow(url)
  await has(sole.told, 'snapshot')
  await sole.leave()
  t.match(sole.lastEventId, /^g1,p\d+:\d+$/)
  await send(1, 40, 'opened')
  const soleAgain = follow(url, { lastEventId: sole.lastEventId })
  await until(() => executions(soleAgain.told).length >= 39, { what: () => `${soleAgain.told.length} after ${sole.lastEventId}` })
  await soleAgain.leave()
  t.strictSame(executions(soleAgain.told), range(1, 40))
  t.strictSame(kinds(soleAgain.told), ['row'], 'no snapshot again')
  const stranger = follow(url, { token: 'other' })
  const first = follow(url)
  await has(first.told, 'snapshot')
  t.strictSame(kinds(first.told), ['generation', 'row', 'snapshot'])
  t.strictSame(executions(first.told), range(0, 40))
  const afterSnapshot = first.lastEventId
  await send(40, 50, 'opened')
  await send(0, 5, 'closed')
  await until(() => executions(first.told, 'removed').length === 5 && executions(first.told).length === 50, { what: 'what changed' })
  t.strictSame(executions(first.told, 'removed'), range(0, 5))
  t.strictSame(executions(first.told), range(0, 50), 'each row once')
  await first.leave()

  // What changes while the client is away.
  await send(50, 60, 'opened')
  await send(5, 8, 'closed')
  const expected = { rows: range(50, 60), removed: range(5, 8) }
  const resumed = follow(url, { lastEventId: first.lastEventId })
  const byQuery = follow(url, { query: `?after=${encodeURIComponent(first.lastEventId)}` })
  for (const client of [resumed, byQuery]) {
    await until(() => executions(client.told, 'removed').length >= 3 && executions(client.told).length >= 10, { what: 'what it missed' })
    t.strictSame({ rows: executions(client.told), removed: executions(client.told, 'removed') }, expected, 'no gap, none twice')
    t.strictSame(kinds(client.told).toSorted(), ['removed', 'row'], 'no snapshot again')
  }
  await byQuery.leave()
  const older = follow(url, { lastEventId: afterSnapshot })
  await until(() => executions(older.told, 'removed').length >= 8 && executions(older.told).length >= 20, {
    what: 'all since the snapshot',
  })
  t.strictSame(executions(older.told), range(40, 60))
  await older.leave()

  // A swap of generations.
  await rest.post('/v1/projections/open_cases/reset', '{}', { 'content-type': 'application/json' })
  await until(() => resumed.told.some(({ event, data }) => event === 'generation' && data['generation'] === 2), {
    within: 60_000,
    what: 'the swap to be told',
  })
  const swapped = resumed.told.findIndex(({ event }) => event === 'generation')
  await until(() => resumed.told.slice(swapped).some(({ event }) => event === 'snapshot'), { what: 'its snapshot' })
  t.strictSame(executions(resumed.told.slice(swapped)), range(8, 60), 'the rows of the other generation, whole')
  t.match(resumed.lastEventId, /^g2,/)
  const ofTwo = resumed.lastEventId
  await resumed.leave()

  // Points that are gone: of the generation before, and of a log that was longer.
  const places = ofTwo.slice('g2,'.length).split(',')
  const gone: [string, RegExp][] = [
    [first.lastEventId, /generation 2 is live/],
    [`g2,${[places[0]!.replace(/:\d+$/, ':99999999'), ...places.slice(1)].join(',')}`, /p\d+:99999999 is ahead of the rows/],
    ['g2,p4000:0', /p4000:0 is ahead/],
  ]
  for (const [lastEventId, reason] of gone) {
    const client = follow(url, { lastEventId })
    await has(client.told, 'snapshot')
    t.match(client.told[0], { event: 'reset', data: { reason } })
    t.match(client.told[1], { event: 'generation', data: { generation: 2 } })
    t.strictSame(executions(client.told), range(8, 60), 'a snapshot follows')
    await client.leave()
  }
  await stranger.leave()
  t.strictSame(executions(stranger.told), [], 'another tenant is told of none of it')
  t.ok(stranger.told.some(({ event }) => event === 'snapshot'))
})
