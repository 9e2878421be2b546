// GET /v1/stream by name of events: what was, what comes, and on after Last-Event-ID.

import t from 'tap'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(180_000)

const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`
const NAMES = ['order.placed', 'order.paid', 'order "sent" & ü']

type Seen = { id: string; event: string; data: { event_name: string; execution_id: string; to_state: string } }

function follow(url: string, query: Record<string, string>, lastEventId = '') {
  const leave = new AbortController()
  const seen: Seen[] = []
  const read = async () => {
    const headers = { authorization: 'Bearer token', ...(lastEventId ? { 'last-event-id': lastEventId } : {}) }
    const { body } = await fetch(`${url}/v1/stream?${new URLSearchParams(query).toString()}`, { headers, signal: leave.signal })
    let text = ''
    for await (const chunk of body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const [, id, event, data] = /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(text.slice(0, end)) ?? []
        text = text.slice(end + 2)
        if (data !== undefined) seen.push({ id: id!, event: event!, data: JSON.parse(data) as Seen['data'] })
      }
    }
  }
  const over = read().catch(() => undefined)
  return { seen, leave: () => (leave.abort(), over) }
}

const states = (seen: readonly Seen[]) => seen.map(({ data }) => data.to_state).toSorted()

t.test('of one name only', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  /** Each of the executions has an event of each name. */
  const send = async (from: number, to: number) => {
    const events = Array.from({ length: to - from }, (_, i) => from + i).flatMap((n) =>
      NAMES.map((event_name, of) => ({ execution_id: executionOf(n % 20), event_name, to_state: `s${n}-${of}` })),
    )
    const answer = await rest.send(events, { prefer: 'wait=10' })
    if (answer.status !== 202 || answer.text.includes('"pending"')) throw new Error(answer.text)
  }
  const expected = (of: number, from: number, to: number) => Array.from({ length: to - from }, (_, i) => `s${from + i}-${of}`).toSorted()
  const live = follow(url, { event_name: 'order.paid' })
  const none = follow(url, { event_name: 'order', after: '' })
  await send(0, 100)
  for (const [of, event_name] of NAMES.entries()) {
    const all = follow(url, { event_name, after: '' })
    await until(() => all.seen.length >= 100, { what: () => `${all.seen.length} of ${event_name}` })
    t.strictSame(states(all.seen), expected(of, 0, 100), event_name)
    t.ok(all.seen.every(({ event, data }) => event === event_name && data.event_name === event_name))
    await all.leave()

    // From the middle on: those of other names between are passed over, none of its own is.
    const half = all.seen[49]!
    const later = follow(url, { event_name }, half.id)
    await until(() => later.seen.length >= 50, { what: () => `${later.seen.length} after the half` })
    t.strictSame(states([...all.seen.slice(0, 50), ...later.seen]), expected(of, 0, 100), 'no gap, none twice')
    await later.leave()
  }
  // As well what comes while it is open, of both filters together too.
  const one = follow(url, { event_name: 'order.placed', execution_id: executionOf(7), after: '' })
  await until(() => one.seen.length === 5, { what: 'one execution' })
  const before = live.seen.length
  await send(100, 120)
  await until(() => live.seen.length >= before + 20 && one.seen.length >= 6, { what: 'what came' })
  t.strictSame(states(live.seen.slice(before)), expected(1, 100, 120))
  t.strictSame(states(one.seen), ['s107-0', 's27-0', 's47-0', 's67-0', 's7-0', 's87-0'])
  await Promise.all([live, none, one].map(({ leave }) => leave()))
  t.strictSame(none.seen, [], 'a name is compared whole')
})

t.test('from now on, with partitions that nobody wrote to yet: its ids are taken, and what comes there is told', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return
  const { url } = await startRefold(t, await useInstallation(t, stack, 'token=tenant'), 'api,recorder')
  const rest = restOf(url, 'token')
  const send = async (n: number, event_name: string) => {
    const answer = await rest.send([{ execution_id: executionOf(n), event_name, to_state: `${n}` }], { prefer: 'wait=10' })
    if (answer.status !== 202 || answer.text.includes('"pending"')) throw new Error(answer.text)
  }
  const first = follow(url, {})
  // It is from now on, so what came before it was there is not told: again until it is.
  let sent = 0
  await until(async () => (await send(0, `order.${sent++}`), first.seen.length > 0), { what: 'the first event' })
  await first.leave()
  const before = new Set(first.seen.map(({ event }) => event))
  const missed = Array.from({ length: sent }, (_, i) => `order.${i}`).slice(Number(first.seen.at(-1)!.event.slice('order.'.length)) + 1)
  for (let n = 1; n < 20; n++) await send(n, `later.${n}`)
  const resumed = follow(url, {}, first.seen.at(-1)!.id)
  const expected = [...missed, ...Array.from({ length: 19 }, (_, i) => `later.${i + 1}`)].toSorted()
  await until(() => resumed.seen.length >= expected.length, { what: () => `${resumed.seen.length} after ${first.seen.at(-1)?.id}` })
  t.strictSame(resumed.seen.map(({ event }) => event).toSorted(), expected, 'no gap, none twice')
  t.notOk(resumed.seen.some(({ event }) => before.has(event)))
  await resumed.leave()
})
