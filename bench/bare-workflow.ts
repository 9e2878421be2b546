// The limit of bench/workflows.ts: a workflow of three steps as bare records through the same log port, in this process. The
// records are as many as ours, JSON; nothing is judged, replayed, stored or asked over REST.

import { randomUUID } from 'node:crypto'
import type { LogBatch, LogReader } from '../kafka/log.ts'
import { partitionOf } from '../workflow/partition.ts'
import { type Ground, PARTITIONS } from './ground.ts'

type Step = { id: string; kind: 'started' | 'scheduled' | 'completed' | 'ended'; step: number }

export type BareWorkflows = { run(): Promise<void>; stop(): Promise<void> }

export async function startBareWorkflows(ground: Ground): Promise<BareWorkflows> {
  const { log } = ground
  const [events, actions] = [ground.fresh('bare-events'), ground.fresh('bare-actions')]
  for (const name of [events, actions]) await log.ensureTopic({ name, partitions: PARTITIONS, replication: 1, settings: {} })
  const waiting = new Map<string, () => void>()

  const put = (topic: string, key: string, step: Step) =>
    log.append({ topic, partition: partitionOf(key, PARTITIONS), key, value: Buffer.from(JSON.stringify(step)) })

  async function onEvent({ id, kind, step }: Step): Promise<void> {
    if (kind === 'started') await put(events, id, { id, kind: 'scheduled', step: 1 })
    else if (kind === 'scheduled') await put(actions, randomUUID(), { id, kind, step })
    else if (kind === 'completed') await put(events, id, step < 3 ? { id, kind: 'scheduled', step: step + 1 } : { id, kind: 'ended', step })
    else waiting.get(id)?.()
  }

  function reader(topic: string, take: (step: Step) => Promise<void>): LogReader {
    return log.reader({
      topic,
      group: ground.fresh('bare'),
      mirror: { reader: 'bare', generation: 1 },
      handler: {
        checkpoint: async () => 0,
        async batch({ records, next }: LogBatch) {
          for (const { value } of records) void take(JSON.parse(Buffer.from(value ?? []).toString()) as Step)
          return next
        },
      },
    })
  }

  const readers = [
    reader(events, onEvent),
    reader(actions, async (step) => void (await put(events, step.id, { ...step, kind: 'completed' }))),
  ]
  for (const one of readers) await one.start()
  return {
    run: () =>
      new Promise((resolve) => {
        const id = randomUUID()
        waiting.set(id, () => {
          waiting.delete(id)
          resolve()
        })
        void put(events, id, { id, kind: 'started', step: 0 })
      }),
    stop: async () => void (await Promise.all(readers.map((one) => one.stop()))),
  }
}
