// A foreign client, straight into the topic: Python with confluent-kafka and fastavro, as an upstream system would.

import t from 'tap'
import { z } from 'zod'
import { createClient } from '../../cli/client.ts'
import { eventIdOf, executionIdOf } from '../../workflow/ids.ts'
import { partitionOf } from '../../workflow/partition.ts'
import { usePython } from '../support/python.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

const TENANT = 'python'
const TOKEN = 'python-token'
const PARTITIONS = 12
/** Enough that two partitioners can't agree on all of them. */
const EXECUTIONS = 24

const delivery = z.array(z.object({ event_id: z.string(), partition: z.int(), offset: z.int() }))
const receipt = z.object({ verdict: z.string(), seq: z.number().optional(), reason: z.string().optional(), detail: z.string().optional() })

/** What a Python program hands to fastavro: fields that have a default are left out. */
function eventOf(key: string) {
  const executionId = executionIdOf(TENANT, 'order', key)
  return {
    event_id: eventIdOf(TENANT, executionId, key, 0),
    tenant: TENANT,
    execution_id: executionId,
    event_name: 'order.placed',
    to_state: 'placed',
    user_id: 'łódź',
    payload: '{"amount":12.50,"big":9007199254740993}',
    created_at: '2026-03-01T10:00:00.250+01:00',
    workflow_name: 'order',
    business_key: key,
  }
}

t.setTimeout(300_000)

void t.test('a Python client sends events straight into the topic', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const python = await usePython(t)
  if (!python) return
  const installation = await useInstallation(t, addresses, `${TOKEN}=${TENANT}`)
  const { url } = await startRefold(t, installation, 'api,recorder')
  const client = createClient({ url, token: TOKEN })
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`

  type Event = ReturnType<typeof eventOf>
  const send = async (events: readonly Event[], ...partitioner: string[]) => {
    const sent = await python.run('produce.py', [addresses.kafkaBrokers.join(','), addresses.registryUrl, topic, ...partitioner], events)
    return new Map(delivery.parse(sent).map((one) => [one.event_id, one]))
  }
  const receiptOf = async ({ execution_id: executionId, event_id: eventId }: Event, at: { partition: number; offset: number }) => {
    const path = `v1/executions/${executionId}/receipts/${eventId}`
    const query = { position: `p${at.partition}:${at.offset}` }
    const { text } = await client.call(path, { query, headers: { prefer: 'wait=30' }, timeout: 40_000 })
    return receipt.parse(JSON.parse(text))
  }

  await t.test('with partitioner=murmur2_random: accepted, and read as it was written', async (t) => {
    const events = Array.from({ length: EXECUTIONS }, (_, i) => eventOf(`right-${i}`))
    const sent = await send(events, 'murmur2_random')
    for (const one of events) {
      const at = sent.get(one.event_id)
      if (at === undefined) throw new Error(`${one.event_id} was not delivered`)
      t.equal(at.partition, partitionOf(one.execution_id, PARTITIONS))
      t.match(await receiptOf(one, at), { verdict: 'accepted', seq: 1 })
    }
    const { text } = await client.call(`v1/executions/${events[0]?.execution_id}`)
    t.match(JSON.parse(text), { currentState: 'placed', workflow: 'order', key: 'right-0', lastSeq: 1 })
    t.match(text, '9007199254740993', 'numbers keep their digits')
    const history = await client.call(`v1/executions/${events[0]?.execution_id}/events`)
    t.match(JSON.parse(history.text), { events: [{ user_id: 'łódź', created_at: '2026-03-01T09:00:00.250Z', event_type: 'workflow' }] })
  })

  await t.test("with librdkafka's default partitioner: quarantined, and the reason says what to set", async (t) => {
    const events = Array.from({ length: EXECUTIONS }, (_, i) => eventOf(`default-${i}`))
    const sent = await send(events)
    let misplaced = 0
    for (const one of events) {
      const at = sent.get(one.event_id)
      if (at === undefined) throw new Error(`${one.event_id} was not delivered`)
      const told = await receiptOf(one, at)
      if (at.partition === partitionOf(one.execution_id, PARTITIONS)) t.match(told, { verdict: 'accepted' }, 'right by chance')
      else {
        misplaced++
        t.match(told, { verdict: 'quarantined', reason: 'wrong-partition', detail: /partitioner=murmur2_random/ })
      }
    }
    t.ok(misplaced > EXECUTIONS / 2, `${misplaced} of ${EXECUTIONS} were misplaced`)
  })
})
