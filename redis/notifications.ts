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
 * KEYS: stream, hash. ARGV: length of the stream, pages as JSON, each partition, what must have been sent, what is then, and entries,
 * each a list of names and values in turn: one argument, since each command and each argument costs our process more than Redis needs
 * to read it. Answers 1 for each page that was taken, 0 for one that was refused.
 */
const ADD = `
local taken = {}
for i, page in ipairs(cjson.decode(ARGV[2])) do
  local sent = tonumber(redis.call('HGET', KEYS[2], page[1]) or '-1')
  if sent < tonumber(page[2]) then
    taken[i] = 0
  else
    for _, fields in ipairs(page[4]) do
      redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
    end
    if sent < tonumber(page[3]) then redis.call('HSET', KEYS[2], page[1], page[3]) end
    taken[i] = 1
  end
end
return taken`

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
      for (const own of grouped(steps)) pipeline.eval(ADD, 2, stream, sentOf(stream), length, JSON.stringify(own.map(argumentOf)))
      const results = await pipeline.exec()
      const failed = results?.find(([error]) => error !== null)
      if (!results || failed) throw new RefoldError('redis-unavailable', failed?.[0]?.message ?? 'no answer', { cause: failed?.[0] })
      const taken = results.flatMap(([, answers]) => answers as (0 | 1)[])
      return new Set(steps.flatMap(({ partition }, i) => (taken[i] === 1 ? [] : [partition])))
    },
  }
}

/** Offsets are text: Lua would write large ones down in powers of ten. */
const argumentOf = ({ partition, known, last, entries }: NotificationPage) => [
  String(partition),
  String(known ?? -1),
  String(last),
  entries.map(({ event, previous }) => fieldsOf(event, previous)),
]

const bytesOf = (entries: NotificationPage['entries']) => entries.reduce((sum, { event }) => sum + (event.payload?.length ?? 0), 0)

/** Steps that go together are no larger than one may be. */
function grouped(steps: readonly NotificationPage[]): NotificationPage[][] {
  const groups: NotificationPage[][] = []
  let room = { entries: 0, bytes: 0 }
  for (const step of steps) {
    const bytes = bytesOf(step.entries)
    const last = groups.at(-1)
    if (last && step.entries.length <= room.entries && bytes <= room.bytes) last.push(step)
    else {
      groups.push([step])
      room = { ...STEP }
    }
    room = { entries: room.entries - step.entries.length, bytes: room.bytes - bytes }
  }
  return groups
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
