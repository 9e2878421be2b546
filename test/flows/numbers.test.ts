// Numbers that a double cannot hold keep every digit: sender → log → audit → fold → tables → snapshot → REST, whoever sends.

import t from 'tap'
import { openProducer } from '../../index.ts'
import { eventIdOf, executionIdOf } from '../../workflow/ids.ts'
import { usePython } from '../support/python.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { type Rest, restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'

const TENANT = 'numbers'
const PAYLOAD = '{"big":9007199254740993,"fine":0.1234567890123456789,"deep":[{"n":[-9007199254740993,1e400]}]}'
/** More than a snapshot's distance. */
const EVENTS = 21

const executionOf = (key: string) => executionIdOf(TENANT, 'count', key)

t.test('numbers keep their digits', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, `token=${TENANT}`)
  // No state is remembered, so that each batch begins from what the tables hold.
  installation.env['REFOLD_STATE_CACHE'] = '0'
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  const prefix = installation.env['REFOLD_TOPIC_PREFIX'] ?? ''
  const draft = (key: string) => ({ event_name: 'counted', workflow_name: 'count', business_key: key, payload: PAYLOAD })

  const senders = new Map<string, () => Promise<unknown>>([
    ['rest', () => rest.send([JSON.stringify(draft('rest')).replace(/"payload":"(?:\\.|[^"])*"/, () => `"payload":${PAYLOAD}`)])],
    [
      'library',
      async () => {
        const producer = await openProducer({
          brokers: addresses.kafkaBrokers,
          registryUrl: addresses.registryUrl,
          tenant: TENANT,
          topicPrefix: prefix,
        })
        await producer.create(draft('library'))
        await producer.close()
      },
    ],
  ])
  const python = await usePython(t)
  if (python)
    senders.set('python', () =>
      python.run(
        'produce.py',
        [addresses.kafkaBrokers.join(','), addresses.registryUrl, `${prefix}.events`, 'murmur2_random'],
        [
          {
            ...draft('python'),
            event_id: eventIdOf(TENANT, executionOf('python'), 'python', 0),
            tenant: TENANT,
            execution_id: executionOf('python'),
            created_at: '2026-03-01T10:00:00.250+01:00',
          },
        ],
      ),
    )

  for (const [sender, send] of senders) {
    await t.test(`sent by ${sender}`, async (t) => {
      await send()
      // Other events follow, one batch and then another: the state goes through the tables, and into a snapshot.
      await follow(rest, sender, EVENTS - 2)
      const position = await follow(rest, sender, 1)
      const read = async (path: string) =>
        (await rest.get(`/v1/executions/${executionOf(sender)}${path}${path.includes('?') ? '&' : '?'}minPosition=${position}`)).text
      const members = PAYLOAD.slice(1, -1)
      t.match(await read('/events?limit=1'), `"payload":${PAYLOAD}`, 'history')
      t.match(await read(''), `"data":{${members},`, 'state')
      t.match(await read('/state?seq=1'), `"data":${PAYLOAD}`, 'state at the first event, replayed')
      t.match(await read(`/state?seq=${EVENTS}`), `"data":{${members},`, 'state at the last, from a snapshot')
      t.match((await rest.get(`/v1/executions?key=${sender}`)).text, `"data":{${members},`, 'list')
      t.match((await rest.get('/v1/events')).text, `"payload":${PAYLOAD}`, 'feed')

      const { admin } = installation.database
      const of = async (text: string) => (await admin.query<{ value: string }>(text, [executionOf(sender)])).rows.map(({ value }) => value)
      t.same(await of('SELECT payload AS value FROM refold.workflow_events WHERE execution_id = $1 AND seq = 1'), [PAYLOAD], 'audit')
      const [snapshot] = await of('SELECT state AS value FROM refold.workflow_snapshots WHERE execution_id = $1')
      t.match(snapshot, members, 'snapshot')
    })
  }
})

/** Sends further events of a sender's execution; resolves once they are recorded, with the last one's position. */
async function follow(rest: Rest, sender: string, count: number): Promise<string> {
  const events = Array.from({ length: count }, () => ({ event_name: 'next', execution_id: executionOf(sender), payload: { small: 1 } }))
  const answer = await rest.send(events, { prefer: 'wait=60' })
  return (answer.json() as { position: string }).position
}
