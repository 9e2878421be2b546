// recorder → Postgres → [LISTEN] → notifier | projector
//
// What the recorder tells at each commit. Only a hint: who waits for it asks the database, and asks again by itself when no word
// comes.

import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { placesTold } from '../consumers/notifier-news.ts'
import type { RecordedNews } from '../consumers/projection-port.ts'
import type { Span } from '../consumers/recorder.ts'
import { asError } from '../errors.ts'
import { createPgClient } from '../postgres/pool.ts'
import { listenForRecorded } from '../postgres/notifier-store.ts'

const LISTEN_AGAIN = 1000

/** A connection that listens; lost, it is made again, and until then whoever waits looks now and then. */
export function keepListening(
  databaseUrl: string,
  name: string,
  told: (place?: string) => void,
  logger: Logger,
): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const stopped = new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve()))
  const listen = async (): Promise<void> => {
    const client = createPgClient(databaseUrl, name)
    const lost = new Promise<Error>((resolve) => client.once('error', resolve))
    try {
      await listenForRecorded(client, told)
      const error = await Promise.race([lost, stopped])
      if (error) throw error
    } catch (error) {
      logger.warn({ error: asError(error).message }, 'the connection that listens is away; what waits for it goes on by time')
      await pause(LISTEN_AGAIN, undefined, { signal: stopping.signal }).catch(() => undefined)
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  const work = (async () => {
    while (!stopping.signal.aborted) await listen()
  })()
  return {
    stop() {
      stopping.abort()
      return work
    },
  }
}

export type HeardNews = RecordedNews & {
  /** Takes `<partition>:<next>`, any number with spaces between. */
  hear(place?: string): void
  /** Takes what the recorder of this process is storing (R9). */
  storing(spans: readonly Span[], lock: number): void
}

/** Where the recorder is in each partition, as far as it was told. */
export function createRecordedNews(): HeardNews {
  const places = new Map<number, number>()
  const underWay = new Map<number, Span & { lock: number }>()
  const waiting = new Map<number, Set<{ offset: number; wake: () => void }>>()
  return {
    told: (partition) => places.get(partition),
    above(partition, offset, ms) {
      if ((places.get(partition) ?? -1) > offset) return Promise.resolve()
      return new Promise((resolve) => {
        const all = waiting.get(partition) ?? new Set()
        waiting.set(partition, all)
        const one = {
          offset,
          wake() {
            clearTimeout(timer)
            all.delete(one)
            resolve()
          },
        }
        const timer = setTimeout(one.wake, ms)
        all.add(one)
      })
    },
    lock({ partition, from, next }) {
      const one = underWay.get(partition)
      return one?.from === from && one.next === next ? one.lock : undefined
    },
    storing(spans, lock) {
      for (const span of spans) {
        underWay.set(span.partition, { ...span, lock })
        for (const one of waiting.get(span.partition) ?? []) if (one.offset === span.from) one.wake()
      }
    },
    hear(told = '') {
      for (const { partition, next } of placesTold(told)) {
        places.set(partition, next)
        if ((underWay.get(partition)?.next ?? Infinity) <= next) underWay.delete(partition)
        for (const one of waiting.get(partition) ?? []) if (next > one.offset) one.wake()
      }
    },
  }
}
