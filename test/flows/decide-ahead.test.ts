// Where runtime and worker are one process, a step is one append (decision 0015); not where a setting says so.

import path from 'node:path'
import t, { type Test } from 'tap'
import { createKafkaLog } from '../../kafka/kafka-log.ts'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA, type WorkflowEvent } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { newId } from '../../workflow/ids.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const APP = path.join(import.meta.dirname, '../../bench/workflow-app.ts')
const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** What the log has of some workflows of three steps, one after the other. */
async function recordsOf(t: Test, env: NodeJS.ProcessEnv): Promise<WorkflowEvent[] | undefined> {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return undefined
  const installation = await useInstallation(t, stack, 'token=tenant')
  Object.assign(installation.env, env)
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker', { app: APP })
  const rest = restOf(url, 'token')
  for (let n = 0; n < 5; n++) {
    const body = JSON.stringify({ workflow: 'three', version: '1', input: {} })
    const answer = await rest.post('/v1/executions', body, { 'content-type': 'application/json', prefer: 'wait=30' })
    t.match(answer.json(), { status: 'completed' })
  }
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`
  const log = createKafkaLog({ brokers: stack.kafkaBrokers, clientId: 'ahead-test', logger: QUIET })
  t.teardown(() => log.close())
  const codec = createEventCodec({
    schemaId: await createRegistry({ url: stack.registryUrl }).register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA),
  })
  const found: WorkflowEvent[] = []
  const checkpoints = new Map<number, number>()
  const reader = log.reader({
    topic,
    group: `${topic}.${newId()}`,
    mirror: { reader: 'test', generation: 1 },
    handler: {
      checkpoint: async (partition) => checkpoints.get(partition) ?? 0,
      async batch({ partition, records, next }) {
        for (const { value } of records) {
          const decoded = codec.decode(value)
          if (decoded.state === 'event') found.push(decoded.event)
        }
        checkpoints.set(partition, next)
        return next
      },
    },
  })
  await reader.start()
  const ends = (await log.bounds(topic)).map(({ high }) => high)
  await until(() => ends.every((end, partition) => (checkpoints.get(partition) ?? 0) >= end), { within: 30_000, what: 'all records' })
  await reader.stop()
  // What was appended again, after an answer that was lost, counts once.
  return found.filter(({ event_id: id }, i) => found.findIndex((event) => event.event_id === id) === i)
}

const ahead = (events: readonly WorkflowEvent[]) => events.filter(({ decision_seq: seq }) => seq > 0)

t.test('what follows from an outcome is right behind it', async (t) => {
  const events = await recordsOf(t, {})
  if (!events) return
  t.equal(events.length, 40)
  // The first of a process may find its runtime still busy with the decision before.
  t.ok(ahead(events).length >= 12, `${ahead(events).length} of 15 decided ahead`)
  for (const { execution_id: id, decision_seq: seq } of ahead(events)) {
    const own = events.filter((event) => event.execution_id === id)
    t.match(own[seq - 1], { decision_seq: seq })
    t.match(own[seq - 2], { event_name: 'action.completed' })
  }
})

t.test('REFOLD_DECIDE_AHEAD=false: nothing is', async (t) => {
  const events = await recordsOf(t, { REFOLD_DECIDE_AHEAD: 'false' })
  if (!events) return
  t.equal(events.length, 40)
  t.equal(ahead(events).length, 0)
})
