// [produce] → log → recorder → state → REST
//
// For applications that write into the log themselves, without REST: one call opens the log, the registry and the codec.

import { RefoldError } from '../errors.ts'
import { createKafkaLog } from '../kafka/kafka-log.ts'
import type { LineLogger } from '../kafka/client.ts'
import { createEventCodec } from '../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../schemas/generated.ts'
import { createRegistry } from '../schemas/registry.ts'
import { formatPosition } from '../workflow/position.ts'
import { createEventProducer, draftEvent, type EventDraft } from './events.ts'

export type OpenProducerOptions = {
  /** host:port of each Kafka broker. */
  brokers: readonly string[]
  /** Confluent-compatible registry, with its path. */
  registryUrl: string
  /** Whose executions this producer writes. */
  tenant: string
  /** Default `refold`. */
  topicPrefix?: string
  /** Default: silent. */
  logger?: LineLogger
}

/** An event as it stands in the log; its verdict comes once the recorder has passed the position. */
export type Receipt = { event_id: string; execution_id: string; position: string; verdict: 'pending' }

export type Producer = {
  /**
   * Appends an event; resolves once all in-sync replicas have it. The same draft with the same `event_id` or
   * `idempotency_key` may be sent again after any failure: it counts once.
   *
   * Errors: `event-invalid`, `name-reserved`, `log-append-too-large`, `log-unavailable` (outcome unknown: send again).
   */
  create(draft: EventDraft): Promise<Receipt>
  close(): Promise<void>
}

const SILENT: LineLogger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** Errors: `log-topic-missing`, `log-unavailable`, `registry-unavailable`, `schema-incompatible`. */
export async function openProducer({
  brokers,
  registryUrl,
  tenant,
  topicPrefix = 'refold',
  logger = SILENT,
}: OpenProducerOptions): Promise<Producer> {
  const topic = `${topicPrefix}.events`
  const log = createKafkaLog({ brokers, clientId: `${topicPrefix}-producer`, logger })
  try {
    const partitions = (await log.bounds(topic)).length
    const schemaId = await createRegistry({ url: registryUrl }).register(`${topic}-value`, WORKFLOW_EVENT_SCHEMA)
    const codec = createEventCodec({ schemaId })
    const events = createEventProducer({ log, topic, partitions, encode: (event) => codec.encode(event) })
    return {
      async create(draft) {
        const drafted = draftEvent(draft, { tenant, now: Date.now() }, 0)
        if (drafted.state === 'refused') throw new RefoldError(drafted.code, drafted.detail)
        const { event } = drafted
        const { partition, offset } = await events.append(event)
        return {
          event_id: event.event_id,
          execution_id: event.execution_id,
          position: formatPosition({ partition, offset }),
          verdict: 'pending',
        }
      },
      close: () => log.close(),
    }
  } catch (error) {
    await log.close()
    throw error
  }
}
