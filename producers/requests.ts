// accepted decisions → [dispatch] → action workers → outcomes → log
//
// Requests to run an attempt: one topic for each queue, made when it is first needed. The key is the action id, so that
// parallel actions of one execution spread over all workers.

import type { Log, TopicSpec } from '../kafka/log.ts'
import type { ActionRequest } from '../schemas/generated.ts'
import { partitionOf } from '../workflow/partition.ts'

export type Requester = {
  /** Resolves when the request is safe in its topic. Errors are those of `Log.append`. */
  dispatch(request: ActionRequest, queue: string | null): Promise<void>
}

/** Name of a queue's topic; null is the queue without a name. */
export const actionsTopic = (prefix: string, queue: string | null) => (queue === null ? `${prefix}.actions` : `${prefix}.actions.${queue}`)

export type RequesterOptions = {
  log: Pick<Log, 'append' | 'ensureTopic'>
  prefix: string
  /** Settings of a queue's topic, by its name. */
  spec: (name: string) => TopicSpec
  encode: (request: ActionRequest) => Uint8Array
}

export function createRequester({ log, prefix, spec, encode }: RequesterOptions): Requester {
  const topics = new Map<string, Promise<number>>()

  function partitions(topic: string): Promise<number> {
    const known = topics.get(topic)
    if (known) return known
    const asked = log.ensureTopic(spec(topic))
    topics.set(topic, asked)
    asked.catch(() => topics.delete(topic))
    return asked
  }

  return {
    async dispatch(request, queue) {
      const topic = actionsTopic(prefix, queue)
      const key = request.action_id
      await log.append({ topic, partition: partitionOf(key, await partitions(topic)), key, value: encode(request) })
    },
  }
}
