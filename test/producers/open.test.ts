// What an application imports, on the real servers: an event is created, recorded, found again and replayed.

import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  executionIdOf,
  getByExecutionId,
  getByIdempotencyKey,
  openProducer,
  openReads,
  partitionOf,
  RefoldError,
  replayEvents,
} from '../../index.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const TENANT = 'tenant-a'
const PAYLOAD = '{"big":9007199254740993,"fine":0.1234567890123456789}'

t.test('an application creates events and reads them back', async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (addresses.databaseUrl === undefined) return
  const installation = await useInstallation(t, addresses, `secret=${TENANT}`)
  await startRefold(t, installation, 'recorder')
  const topicPrefix = String(installation.env['REFOLD_TOPIC_PREFIX'])
  const open = { brokers: addresses.kafkaBrokers, registryUrl: addresses.registryUrl, tenant: TENANT, topicPrefix }
  const producer = await openProducer(open)
  t.teardown(() => producer.close())
  const reads = openReads(installation.database.url, { max: 2, name: 'test-reads' })
  t.teardown(() => reads.close())
  const executionId = executionIdOf(TENANT, 'order', 'o-1')
  const draft = { event_name: 'order.placed', workflow_name: 'order', business_key: 'o-1', to_state: 'placed', payload: PAYLOAD }

  const receipt = await producer.create({ ...draft, idempotency_key: 'k1' })
  t.match(receipt, { execution_id: executionId, verdict: 'pending', position: new RegExp(`^p${partitionOf(executionId, 12)}:\\d+$`) })
  const found = await until(() => getByIdempotencyKey(reads, executionId, TENANT, 'k1'))
  t.match(found, { event_id: receipt.event_id, seq: 1, event_name: 'order.placed', payload: PAYLOAD, business_key: 'o-1' })
  t.equal(`p${found.partition}:${found.log_offset}`, receipt.position)

  const again = await producer.create({ ...draft, idempotency_key: 'k1' })
  t.equal(again.event_id, receipt.event_id, 'the same key gives the same id')
  await producer.create({ event_name: 'order.shipped', execution_id: executionId, to_state: 'completed', idempotency_key: 'k2' })
  await until(() => getByIdempotencyKey(reads, executionId, TENANT, 'k2'))
  t.equal((await getByExecutionId(reads, executionId, TENANT)).length, 2, 'what was sent twice counts once')
  const replayed = await replayEvents(reads, executionId, TENANT)
  t.match(replayed, { executionId, tenant: TENANT, currentState: 'completed', isComplete: true, seq: 2 })
  t.equal(JSON.stringify(replayed?.data), PAYLOAD)
  t.match(await replayEvents(reads, executionId, TENANT, { replayUntil: 1 }), { currentState: 'placed', isComplete: false, seq: 1 })
  t.equal(await replayEvents(reads, executionId, 'tenant-b'), undefined)
  t.equal(await getByIdempotencyKey(reads, executionId, 'tenant-b', 'k1'), undefined)

  await t.rejects(producer.create({ ...draft, event_name: 'workflow.started' }), { code: 'name-reserved' })
  await t.rejects(producer.create({ event_name: 'x' }), { code: 'event-invalid', detail: /needs execution_id/ })
  await t.rejects(producer.create({ ...draft, payload: '{' }), { code: 'event-invalid' })
  await producer.close()
  await t.rejects(producer.create(draft), RefoldError)
  const elsewhere = { ...open, topicPrefix: `test-${randomBytes(6).toString('hex')}` }
  await t.rejects(openProducer(elsewhere), { code: 'log-topic-missing' }, 'an application makes no topics')
})
