// The stream of notifications in Redis (the port NotificationStream of consumers/notifier.ts).

import type { Redis } from 'ioredis'
import type { NotificationPage, NotificationStream } from '../consumers/notifier.ts'
import { RefoldError } from '../errors.ts'
import { fieldsOf } from '../workflow/notification.ts'

/** Hash beside the stream: partition → last offset sent. What takes one away takes the other: a flush, an older copy. */
const sentOf = (stream: string) => `${stream}:sent`

/** Entries and bytes of payload that Redis takes in one step. */
const STEP = { entries: 100, bytes: 1_000_000 }

/**
 * KEYS: stream, hash. ARGV: partition, what must have been sent, what is then, length of the stream, entries as JSON, each a list of
 * names and values in turn: one argument, since each costs our process more than Redis needs to read them.
 */
const ADD = `
local sent = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
if sent < tonumber(ARGV[2]) then return 0 end
for _, fields in ipairs(cjson.decode(ARGV[5])) do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', unpack(fields))
end
if sent < tonumber(ARGV[3]) then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
return 1`

export function createNotificationStream(redis: Redis, stream: string, length: number): NotificationStream {
  return {
    async sent() {
      const held = await redis.hgetall(sentOf(stream))
      return new Map(Object.entries(held).map(([partition, offset]) => [Number(partition), Number(offset)]))
    },
    async add(pages) {
      const steps = pages.flatMap(stepsOf)
      if (steps.length === 0) return new Set()
      const pipeline = redis.pipeline()
      for (const { partition, known, last, entries } of steps) {
        const values = entries.map(({ event, previous }) => fieldsOf(event, previous))
        pipeline.eval(ADD, 2, stream, sentOf(stream), partition, known ?? -1, last, length, JSON.stringify(values))
      }
      const results = await pipeline.exec()
      const failed = results?.find(([error]) => error !== null)
      if (!results || failed) throw new RefoldError('redis-unavailable', failed?.[0]?.message ?? 'no answer', { cause: failed?.[0] })
      return new Set(steps.flatMap(({ partition }, i) => (results[i]?.[1] === 1 ? [] : [partition])))
    },
  }
}

/** A page in steps; each asks for what the one before sent, so that none is taken without it. */
function stepsOf(page: NotificationPage): NotificationPage[] {
  const steps: NotificationPage[] = []
  let known = page.known
  let entries: NotificationPage['entries'][number][] = []
  let bytes = 0
  const cut = (last: number) => {
    steps.push({ ...page, known, last, entries })
    known = last
    entries = []
    bytes = 0
  }
  for (const entry of page.entries) {
    entries.push(entry)
    bytes += entry.event.payload?.length ?? 0
    if (entries.length >= STEP.entries || bytes >= STEP.bytes) cut(entry.event.offset)
  }
  if (entries.length > 0 || page.entries.length === 0) cut(page.last)
  return steps
}
