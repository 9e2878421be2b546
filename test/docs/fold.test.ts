// docs/log-as-contract.md: a Python reader that knows the published rules gets the same executions.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { orderFulfilment } from '../../examples/order-fulfilment/workflow.ts'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import { createEventProducer } from '../../producers/events.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { contentOf, nextChain } from '../../workflow/content.ts'
import { madeAhead } from '../../workflow/events.ts'
import { executionIdOf, newId } from '../../workflow/ids.ts'
import { isJsonObject, parseJson } from '../../workflow/json.ts'
import { decision, event as eventOf, outcome, started } from '../support/events.ts'
import { usePython } from '../support/python.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const SCRIPT = path.join(import.meta.dirname, '../../docs/examples/fold.py')
const APP = path.join(import.meta.dirname, '../../examples/order-fulfilment/app.ts')
const run = promisify(execFile)
const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** JSON with its members in order. */
function canonical(value: unknown): string {
  const ordered = (one: unknown): unknown => {
    if (Array.isArray(one)) return one.map(ordered)
    return isJsonObject(one)
      ? Object.fromEntries(
          Object.entries(one)
            .toSorted(([a], [b]) => (a < b ? -1 : 1))
            .map(([key, each]) => [key, ordered(each)]),
        )
      : one
  }
  return JSON.stringify(ordered(value))
}

/** Decisions made ahead: behind the input that they say, and where something else came first. */
function* ahead(): Generator<WorkflowEvent> {
  for (let n = 0; n < 5; n++) {
    const of = { tenant: 'tenant', execution_id: executionIdOf('tenant', 'ahead', `a-${n}`) }
    const mine = outcome(1, 1, of)
    yield started({ ...of, payload: JSON.stringify({ workflow_name: 'ahead', workflow_version: 'none', key: `a-${n}` }) })
    if (n === 1) yield eventOf({ ...of, event_id: newId() })
    if (n === 2) yield outcome(1, 1, { ...of, payload: JSON.stringify({ action: 1, attempt: 1, name: 'reserve', result: 'another' }) })
    if (n !== 3) yield mine
    else yield eventOf({ ...of, event_id: newId() })
    const first = madeAhead(decision(1, '', of), 3, n === 4 ? contentOf(started(of)) : contentOf(mine))
    yield first
    yield madeAhead(decision(2, nextChain('', contentOf(first)), of), 4, contentOf(mine))
  }
}

t.setTimeout(300_000)

t.test('it has at most 150 lines', async (t) => {
  t.ok(readFileSync(SCRIPT, 'utf8').trimEnd().split('\n').length <= 150)
})

t.test('a Python reader folds the topic by itself and gets the same executions', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const python = await usePython(t)
  if (!python) return
  const installation = await useInstallation(t, stack, 'token=tenant')
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker', { app: APP })
  const rest = restOf(url, 'token')
  const JSON_BODY = { 'content-type': 'application/json' }

  const event = (n: number, to_state: string, payload: unknown, more: object = {}) => ({
    workflow_name: 'permit',
    business_key: `p-${n}`,
    event_name: `permit.${to_state}`,
    to_state,
    payload,
    ...more,
  })
  for (let n = 0; n < 60; n++) {
    const id = executionIdOf('tenant', 'permit', `p-${n}`)
    const twice = event(n, 'seen', { n, text: 'ü"\\', deep: { a: [1, 2.5, null] } }, { event_id: `${id.slice(0, 14)}4${id.slice(15)}` })
    const all = [event(n, 'asked', { big: n * 1e12, who: 'x' }), twice, twice, { ...twice, to_state: 'other' }, event(n, '', 'no object')]
    if (n % 5 === 0) all.push(event(n, 'completed', { done: true }), event(n, 'late', {}))
    await rest.send(all)
  }
  for (let n = 0; n < 20; n++) {
    const input = { order: `o-${n}`, amount: n % 4 === 0 ? 5000 : 10, lines: 3 }
    await rest.post('/v1/executions', JSON.stringify({ workflow: orderFulfilment.name, version: '1', key: `o-${n}`, input }), JSON_BODY)
  }
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`
  const log = createKafkaLog({ brokers: stack.kafkaBrokers, clientId: 'fold-test', logger: QUIET })
  t.teardown(() => log.close())
  const schemaId = await createRegistry({ url: stack.registryUrl }).register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA)
  const codec = createEventCodec({ schemaId })
  const partitions = (await log.bounds(topic)).length
  const producer = createEventProducer({ log, topic, partitions, encode: (one) => codec.encode(one) })
  for (const one of ahead()) await producer.append(one)
  const { admin } = installation.database
  const count = async (status: string) =>
    Number(
      (await admin.query(`SELECT count(*) AS n FROM refold.workflow_executions WHERE workflow_version = '1' AND status = '${status}'`))
        .rows[0].n,
    )
  await until(async () => (await count('completed')) === 15, { within: 60_000, what: 'the small orders to end' })
  const [one] = (
    await admin.query("SELECT execution_id FROM refold.workflow_executions WHERE workflow_version = '1' AND status = 'running'")
  ).rows
  await rest.post(`/v1/executions/${one.execution_id}/cancel`, '{}', JSON_BODY)
  await until(async () => (await count('running')) === 4, { within: 60_000, what: 'the cancelled one to end' })

  const recorded = async () => Number((await admin.query('SELECT count(*) AS n FROM refold.workflow_executions')).rows[0].n)
  await until(async () => (await recorded()) === 85, { within: 60_000, what: 'all to be recorded' })

  const { stdout } = await run(python.interpreter, [SCRIPT, stack.kafkaBrokers.join(','), stack.registryUrl, topic], {
    maxBuffer: 100_000_000,
  })
  const theirs = stdout
    .trimEnd()
    .split('\n')
    .map((line) => canonical(parseJson(line)))
    .toSorted()
  const { rows } = await admin.query(`
    SELECT json_build_object('tenant', tenant, 'executionId', execution_id, 'status', status, 'currentState', current_state, 'data', data,
      'lastSeq', last_seq, 'workflow', workflow_name, 'version', workflow_version, 'key', business_key)::text AS row
    FROM refold.workflow_executions`)
  const ours = (rows as { row: string }[]).map(({ row }) => canonical(parseJson(row))).toSorted()
  t.equal(ours.length, 85)
  t.strictSame(theirs, ours)
  const { rows: refused } = await admin.query("SELECT DISTINCT verdict FROM refold.event_verdicts WHERE tenant = 'tenant' ORDER BY 1")
  t.match(
    (refused as { verdict: string }[]).map(({ verdict }) => verdict),
    ['conflict', 'duplicate', 'late'],
    'records that do not count were among them',
  )
  const { rows: inVain } = await admin.query(
    "SELECT count(DISTINCT execution_id) AS n FROM refold.event_verdicts WHERE reason = 'decision-ahead'",
  )
  t.equal(Number(inVain[0].n), 4, 'decisions made ahead too')
})
