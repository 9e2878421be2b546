// What a row of a projection comes from, and how its rows change: over kills of the API and a swap of generations.

import path from 'node:path'
import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const APP = path.join(import.meta.dirname, '..', 'support', 'change-app.ts')
const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`
const ODD = `a/b "ü", 100% \\ {}`

type Row = { execution: string; events: string; state: string }
type Told = { event: string; id?: string; data: Row & { key: { execution: string }; generation: number; reason?: string } }

/** A client that keeps what it is told, and comes back with its last id. */
class Follower {
  readonly rows = new Map<string, Row>()
  readonly told: Told[] = []
  id: string | undefined
  #leave = new AbortController()
  #over: Promise<void> = Promise.resolve()

  follow(url: string, accept = 'application/x-ndjson'): void {
    this.#leave = new AbortController()
    this.#over = this.#read(url, accept).catch(() => undefined)
  }

  async #read(url: string, accept: string): Promise<void> {
    const headers = { authorization: 'Bearer token', accept, ...(this.id === undefined ? {} : { 'last-event-id': this.id }) }
    const { body, status } = await fetch(`${url}/v1/projections/open_cases/changes`, { headers, signal: this.#leave.signal })
    if (status !== 200 || !body) throw new Error(String(status))
    let rest = ''
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.#take(JSON.parse(line) as Told)
    }
  }

  #take(told: Told): void {
    this.told.push(told)
    const { event, data, id } = told
    if (event === 'generation') this.rows.clear()
    if (event === 'row') this.rows.set(data.execution, data)
    if (event === 'removed') this.rows.delete(data.key.execution)
    if (id !== undefined) this.id = id
  }

  async leave(): Promise<void> {
    this.#leave.abort()
    await this.#over
  }

  /** When the connection is gone. */
  over = () => this.#over
}

async function allRows(rest: Rest): Promise<Map<string, Row>> {
  const { rows } = (await rest.get('/v1/projections/open_cases/rows?limit=1000')).json() as { rows: Row[] }
  return new Map(rows.map((row) => [row.execution, row]))
}

const sorted = (rows: ReadonlyMap<string, Row>) => [...rows.values()].toSorted((a, b) => (a.execution < b.execution ? -1 : 1))

t.test('rows are followed without a gap, and told where they come from', async (whole) => {
  const stack = useStack(whole, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(whole, stack, 'token=tenant,other=stranger')
  Object.assign(installation.env, { REFOLD_GROUP_SESSION: '1500', REFOLD_GROUP_HEARTBEAT: '300', REFOLD_OPERATOR_TOKENS: 'token' })
  await startRefold(whole, installation, 'recorder,projector', { app: APP })
  let api = await startRefold(whole, installation, 'api', { app: APP })
  let rest = restOf(api.url, 'token')
  let sent = 0
  const send = async (from: number, to: number, states: readonly string[]) => {
    const events = Array.from({ length: to - from }, (_, i) => from + i).flatMap((n) =>
      states.map((to_state) => ({
        execution_id: executionOf(n),
        event_name: `case.${to_state}`,
        to_state,
        payload: { label: n % 2 === 0 ? ODD : 'plain', kind: n % 3, amount: n },
      })),
    )
    for (let at = 0; at < events.length; at += 100) {
      const part = events.slice(at, at + 100)
      const answer = await rest.send(part)
      if (answer.status !== 202) throw new Error(answer.text)
      sent += part.length
    }
  }
  const settled = () =>
    until(
      async () => {
        const { rows } = await installation.database.admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')
        const lags = await Promise.all(
          ['open_cases', 'amounts'].map(async (name) => ((await rest.get(`/v1/projections/${name}`)).json() as { lag: number }).lag),
        )
        return Number(rows[0]?.n) === sent && lags.every((lag) => lag === 0)
      },
      { within: 60_000, every: 100, what: 'everything to be folded' },
    )
  const same = async (follower: Follower, what: string) => {
    await settled()
    await until(async () => JSON.stringify(sorted(follower.rows)) === JSON.stringify(sorted(await allRows(rest))), {
      within: 30_000,
      every: 100,
      what: `${what}: the followed rows to be the projection's`,
    })
  }
  await send(0, 60, ['opened', 'seen'])
  await settled()

  await whole.test('a snapshot, then what changes; the API is killed in the middle', async (t) => {
    const follower = new Follower()
    follower.follow(api.url)
    await until(() => follower.told.some(({ event }) => event === 'snapshot'), { what: 'the snapshot' })
    t.equal(follower.rows.size, 60)
    await send(60, 90, ['opened'])
    await send(0, 20, ['closed'])
    await same(follower, 'rows come and go')
    t.equal(follower.rows.size, 70)
    t.ok(follower.told.some(({ event }) => event === 'removed'))

    const { id } = follower
    await api.kill()
    await follower.over()
    api = await startRefold(whole, installation, 'api', { app: APP })
    rest = restOf(api.url, 'token')
    await send(90, 120, ['opened', 'seen'])
    await send(20, 30, ['closed'])
    await send(0, 5, ['reopened'])
    const before = follower.told.length
    follower.id = id
    follower.follow(api.url)
    await same(follower, 'after a kill')
    const again = follower.told.slice(before)
    t.notOk(
      again.some(({ event }) => event === 'generation' || event === 'reset'),
      'it went on where it was',
    )

    await rest.post('/v1/projections/open_cases/reset', '{}', { 'content-type': 'application/json' })
    await until(() => follower.told.some(({ event, data }) => event === 'generation' && data.generation === 2), {
      within: 60_000,
      what: 'the swap to be told',
    })
    await send(120, 130, ['opened'])
    await same(follower, 'after a swap')
    await follower.leave()

    const late = new Follower()
    late.id = id
    late.follow(api.url)
    await same(late, 'with an id of a generation that is gone')
    t.match(late.told[0], { event: 'reset', data: { generation: 1, reason: /generation 2 is live/ } })
    t.match(late.told[1], { event: 'generation', data: { generation: 2 } })
    await late.leave()
    const events = await fetch(`${api.url}/v1/projections/open_cases/changes`, {
      headers: { authorization: 'Bearer token', accept: 'text/event-stream' },
    })
    t.match(events.headers.get('content-type'), /text\/event-stream/)
    const reader = events.body?.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    while (!/event: snapshot/.test(text)) text += (await reader?.read())?.value ?? ''
    t.match(text, /event: generation\ndata: \{"generation":2\}\n\nevent: row\ndata: \{"execution"/)
    await reader?.cancel()
    t.match((await rest.get('/v1/projections/open_cases/changes?after=nonsense')).json(), { status: 400, detail: /not an id/ })
  })

  await whole.test('the events that made a row, and what each changed', async (t) => {
    await settled()
    const provenance = async (name: string, key: string, query = '') => {
      const answer = await rest.get(`/v1/projections/${name}/rows/${encodeURIComponent(key)}/provenance${query}`)
      return {
        status: answer.status,
        body: answer.json() as { steps: Record<string, unknown>[]; nextCursor: string | null; detail?: string },
      }
    }
    const closed = await provenance('open_cases', executionOf(0))
    t.match(
      closed.body.steps.map(({ event_name: name, row, changed }) => ({ name, row, changed })),
      [
        {
          name: 'case.opened',
          row: { events: '1', state: 'opened' },
          changed: { events: { from: null, to: '1' }, state: { to: 'opened' } },
        },
        { name: 'case.seen', row: { events: '2' }, changed: { events: { from: '1', to: '2' }, state: { from: 'opened', to: 'seen' } } },
        { name: 'case.closed', row: null, changed: { state: { from: 'seen', to: null } } },
        { name: 'case.reopened', row: { events: '1', state: 'reopened' } },
      ],
    )
    t.match(closed.body.steps[0], { position: /^p\d+:\d+$/, execution_id: executionOf(0), seq: 1 })

    const { rows } = (await rest.get(`/v1/projections/amounts/rows?kind=2&label=${encodeURIComponent(ODD)}`)).json() as {
      rows: { amount: string }[]
    }
    const key = JSON.stringify([ODD, 2])
    let amount = 0
    const seen = new Set<string>()
    for (let cursor: string | null = ''; cursor !== null;) {
      const { status, body }: Awaited<ReturnType<typeof provenance>> = await provenance(
        'amounts',
        key,
        `?limit=7${cursor === '' ? '' : `&cursor=${cursor}`}`,
      )
      t.equal(status, 200, body.detail ?? '')
      t.ok(body.steps.length <= 7)
      for (const { position, changed } of body.steps as { position: string; changed: { amount: { from: string | null; to: string } } }[]) {
        t.notOk(seen.has(position))
        seen.add(position)
        amount += changed.amount ? Number(changed.amount.to) - Number(changed.amount.from ?? 0) : 0
      }
      cursor = body.nextCursor
    }
    t.equal(String(amount), rows[0]?.amount, 'what the events changed is what the row is')
    t.ok(seen.size > 14, `${seen.size} events`)

    t.match(await provenance('open_cases', executionOf(5000)), { status: 404 })
    t.match(await provenance('amounts', 'plain'), { status: 400, body: { detail: /JSON array/ } })
    t.match(await provenance('handled_too', 'x'), { status: 409, body: { detail: /only folds/ } })
    const stranger = restOf(api.url, 'other')
    t.equal((await stranger.get(`/v1/projections/open_cases/rows/${executionOf(0)}/provenance`)).status, 404)
    const bare = await startRefold(t, installation, 'api')
    const without = await restOf(bare.url, 'token').get(`/v1/projections/open_cases/rows/${executionOf(0)}/provenance`)
    t.match(without.json(), { status: 409, detail: /start it with --app/ })
  })
})
