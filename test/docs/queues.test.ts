// Queues, as docs/workflows.md says to use them: its application on two workers, each with the setting that the page gives it.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import t from 'tap'
import { regionOf } from '../../docs/regions.ts'
import { useFlows } from '../support/flows.ts'
import { startRefold } from '../support/refold-process.ts'
import { until } from '../support/wait.ts'

const EXAMPLES = path.join(import.meta.dirname, '..', '..', 'docs', 'examples')
const APP = path.join(EXAMPLES, 'film.ts')
const SCENES = 5

type Asked = { actions: { name: string; queue: string | null; status: string; worker: string }[] }

t.test('an action of a queue is run by the workers of that queue, and waits for them', { timeout: 120_000 }, async (t) => {
  const settings = [
    ...regionOf(readFileSync(path.join(EXAMPLES, 'queues.sh'), 'utf8'), 'workers').matchAll(/^REFOLD_WORKER_QUEUES=(\S+)/gm),
  ]
  const [gpu, others] = settings.map(([, queues]) => queues)
  t.strictSame([gpu, others], ['gpu', '-'])
  const flows = await useFlows(t)
  if (!flows) return
  const { installation, start, ended, diagnosed, rest } = flows
  const worker = (queues: string | undefined) => startRefold(t, installation, 'worker', { app: APP, env: { REFOLD_WORKER_QUEUES: queues } })
  const kafka = new Kafka({ brokers: String(installation.env['KAFKA_BROKERS']).split(','), clientId: 'test', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  /** -1 while the topic is not there yet, or has no leader. */
  const requestsIn = async (topic: string) => {
    const found = await admin.fetchTopicOffsets(`${installation.env['REFOLD_TOPIC_PREFIX']}.${topic}`).catch(() => undefined)
    return found ? found.reduce((sum, { high }) => sum + Number(high), 0) : -1
  }
  const holds = (topic: string, requests: number) =>
    until(async () => (await requestsIn(topic)) === requests, { every: 100, what: `${requests} requests in ${topic}` })

  await startRefold(t, installation, 'runtime', { app: APP })
  const other = await worker(others)
  const id = await start('film', { scenes: SCENES })
  // This worker has code for it, and is none of the queue: the diagnosis names that.
  const waits = await diagnosed(id, 'no-worker')
  t.match(waits.summary, 'implements render in queue gpu')
  t.match(waits.evidence, { name: 'render', queue: 'gpu' })
  await holds('actions.gpu', SCENES)
  t.equal(await requestsIn('actions'), 0, 'the topic without a name has none of them')

  const special = await worker(gpu)
  t.match(await ended(id), { status: 'completed', result: { film: `${SCENES * 24} frames` } })
  t.equal(await requestsIn('actions.gpu'), SCENES, 'nothing else went there')
  t.equal(await requestsIn('actions'), 1, 'what has no queue is in the topic without a name')
  const { actions } = (await rest.get(`/v1/executions/${id}/actions`)).json() as Asked
  t.equal(actions.length, SCENES + 1)
  for (const { name, queue, status, worker: by } of actions) {
    const expected = name === 'render' ? { queue: 'gpu', pid: special.child.pid } : { queue: null, pid: other.child.pid }
    t.equal(status, 'completed')
    t.equal(queue, expected.queue, `the queue of ${name}`)
    t.match(by, new RegExp(`-${expected.pid}-[^-]+$`), `who ran ${name}`)
  }
})
