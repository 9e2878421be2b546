// The state at every seq of many executions, over REST, against a fold written here without Refold's code: with the
// snapshots as they were taken, with some of them spoiled, with all of them gone.

import t from 'tap'
import { randomOf } from '../soak/workload.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { eachOf, outcomesOf, type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const SEED = 20_261_122
const EXECUTIONS = 200
/** One execution in so many is long: beyond the snapshots that are kept, which are five, twenty events apart. */
const LONG_EVERY = 20
const BATCH = 400
const AT_ONCE = 16

type Past = { status: string; currentState: string; data: Record<string, unknown>; key: string; correlationId: string | null }
type Event = { event_name: string; to_state: string; payload?: unknown; created_at: number; correlation_id: string | null }
/** An execution: what is sent of it, in order, and its state after each accepted event; the first one is before any. */
type Case = { key: string; events: Event[]; states: Past[]; id: string }

const STATES = ['', 'open', 'checked', 'sent', '', 'failed']
const ENDS = new Set(['completed', 'failed', 'cancelled', 'terminated'])

function eventOf(n: number, last: boolean, random: () => number): Event {
  const pick = <T>(...all: T[]): T => all[Math.floor(random() * all.length)] as T
  const to = last ? pick('completed', 'open') : pick(...STATES.slice(0, 5))
  const payload = pick<unknown>({ n, [`k${n % 7}`]: [n, { deep: pick<unknown>(null, 'x', 1.5) }] }, { n }, [n], 'text', 7, null)
  // Business time goes back and forth.
  const created_at = 1_700_000_000_000 + Math.floor(random() * 1000) + n * 200
  const correlation_id = random() < 0.1 ? `g${n}` : null
  const one = { event_name: 'stepped', to_state: to, created_at, correlation_id }
  return random() < 0.1 ? one : { ...one, payload }
}

/** The rules of an execution without a function, in words of their own. */
function after(before: Past, { to_state: to, payload, correlation_id: correlation }: Event): Past {
  const merges = typeof payload === 'object' && payload !== null && !Array.isArray(payload)
  return {
    key: before.key,
    currentState: to === '' ? before.currentState : to,
    status: ENDS.has(to) ? to : before.status,
    data: merges ? { ...before.data, ...payload } : before.data,
    correlationId: before.correlationId ?? correlation,
  }
}

function caseOf(i: number, random: () => number): Case {
  const length = i % LONG_EVERY === 0 ? 41 + Math.floor(random() * 100) : 1 + Math.floor(random() * 8)
  const key = `case-${i}`
  const events: Event[] = []
  const states: Past[] = [{ key, status: 'running', currentState: 'initial', data: {}, correlationId: null }]
  while (events.length < length) {
    const one = eventOf(events.length + 1, events.length + 1 === length, random)
    events.push(one)
    states.push(after(states.at(-1)!, one))
  }
  return { key, events, states, id: '' }
}

/** Sends all of them, the executions mixed, in the order of each. */
async function sendAll(rest: Rest, cases: readonly Case[], random: () => number): Promise<void> {
  const queue = cases.flatMap((one) => one.events.map(() => one))
  for (let i = queue.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const [first, second] = [queue[i]!, queue[j]!]
    queue[i] = second
    queue[j] = first
  }
  const sent = new Map<Case, number>()
  while (queue.length > 0) {
    const part = queue.splice(0, BATCH)
    const items = part.map((one) => {
      const n = sent.get(one) ?? 0
      sent.set(one, n + 1)
      return { ...one.events[n], workflow_name: 'seeded', business_key: one.key }
    })
    const outcomes = outcomesOf(await rest.send(items, { prefer: 'wait=60' }))
    for (const [i, one] of part.entries()) {
      if (outcomes[i]?.verdict !== 'accepted') throw new Error(JSON.stringify(outcomes[i]))
      one.id = outcomes[i].execution_id
    }
  }
}

/** The longest prefix of the history whose created_at are all at or before `moment`. */
function prefixAt({ events }: Case, moment: number): number {
  const beyond = events.findIndex(({ created_at: created }) => created > moment)
  return beyond === -1 ? events.length : beyond
}

/** Faults found: every seq of every execution, and a moment of each. */
async function compareAll(rest: Rest, cases: readonly Case[], random: () => number): Promise<string[]> {
  const faults: string[] = []
  async function compare(one: Case, query: string, seq: number): Promise<void> {
    const answer = await rest.get(`/v1/executions/${one.id}/state?${query}`)
    const { status, currentState, data, correlationId, seq: got, key } = answer.json() as Past & { seq: number }
    const before = seq === 0 // no event yet, so nobody has named a key
    const expected = { ...one.states[seq]!, key: before ? null : one.key, seq }
    const shown = { key, currentState, status, data, correlationId, seq: got }
    if (canonical(shown) !== canonical(expected)) faults.push(`${one.id}?${query}: ${answer.text}; expected ${JSON.stringify(expected)}`)
  }
  await eachOf(cases, AT_ONCE, async (one) => {
    for (let seq = 0; seq < one.states.length; seq++) await compare(one, `seq=${seq}`, seq)
    const moment = (one.events[Math.floor(random() * one.events.length)]?.created_at ?? 0) + (random() < 0.5 ? 0 : -1)
    await compare(one, `at=${new Date(moment).toISOString()}`, prefixAt(one, moment))
  })
  return faults
}

/** JSON with the keys of each object in order. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, one: unknown) =>
    typeof one === 'object' && one !== null && !Array.isArray(one)
      ? Object.fromEntries(Object.entries(one).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : one,
  )

/** Ways to spoil a snapshot; each takes the ones whose seq is its turn. */
const SPOILS = [
  `UPDATE refold_derived_g1.workflow_snapshots SET state = replace(state, '"currentState":"', '"currentState":"not-') WHERE seq % 120 = 20`,
  `UPDATE refold_derived_g1.workflow_snapshots SET state = left(state, length(state) / 2) WHERE seq % 120 = 40`,
  `UPDATE refold_derived_g1.workflow_snapshots SET digest = repeat('0', 64) WHERE seq % 120 = 60`,
  `UPDATE refold_derived_g1.workflow_snapshots SET state = replace(state, '"currentState":"', '"currentState":"not-'), fold_version = 0 WHERE seq % 120 = 80`,
  // Another execution's, whole and with its digest.
  `UPDATE refold_derived_g1.workflow_snapshots s SET state = o.state, digest = o.digest FROM refold.workflow_snapshots o
   WHERE s.seq % 120 = 100 AND o.seq = s.seq AND o.execution_id <> s.execution_id`,
]

t.test(`the state at every seq of ${EXECUTIONS} executions is an independent fold's`, { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  const random = randomOf(SEED)
  const cases = Array.from({ length: EXECUTIONS }, (_, i) => caseOf(i, random))
  await sendAll(rest, cases, random)
  const { admin } = installation.database
  const snapshots = async () => Number((await admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_snapshots')).rows[0]?.n)
  const states = cases.reduce((sum, one) => sum + one.states.length, 0)

  const taken = await snapshots()
  t.ok(taken >= (EXECUTIONS / LONG_EVERY) * 2, `${taken} snapshots`)
  t.same(await compareAll(rest, cases, random), [], `${states} states with snapshots`)

  let spoiled = 0
  for (const text of SPOILS) {
    const { rowCount } = await admin.query(text)
    spoiled += rowCount ?? 0
  }
  t.ok(spoiled > SPOILS.length, `${spoiled} snapshots spoiled`)
  t.same(await compareAll(rest, cases, random), [], `${states} states with spoiled snapshots`)

  await admin.query('DELETE FROM refold_derived_g1.workflow_snapshots')
  t.equal(await snapshots(), 0)
  t.same(await compareAll(rest, cases, random), [], `${states} states without any`)
})
