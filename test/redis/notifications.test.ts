// The stream of notifications in a real Redis.

import { once } from 'node:events'
import t from 'tap'
import { createRedis } from '../../redis/client.ts'
import { createNotificationStream } from '../../redis/notifications.ts'
import { newId } from '../../workflow/ids.ts'
import { type EventToTell, fieldsOf } from '../../workflow/notification.ts'
import { useStack } from '../support/stack.ts'

const HOSTILE = [
  '',
  '"',
  '\\',
  '\\u0000',
  '\\ud800',
  '\t\r\n\u0001\u007f',
  'ä€😀\u2028',
  '{"a":[1,{"b":null}]}',
  '[[[[',
  '1e999',
  "'",
  '%s ]]',
]

const eventOf = (offset: number, text: string): EventToTell => ({
  event_id: newId(),
  execution_id: newId(),
  event_name: text,
  event_type: text,
  tenant: text,
  created_at: 0,
  user_id: text,
  from_state: text,
  to_state: text,
  payload: JSON.stringify({ text, deep: JSON.stringify([text]) }),
  seq: 1,
  partition: 0,
  offset,
})

t.test('notifications in Redis', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (redisUrl === undefined) return
  const redis = createRedis(redisUrl, () => undefined)
  await once(redis, 'ready')
  t.teardown(() => redis.disconnect())
  const open = () => {
    const name = `test-${newId()}`
    t.teardown(() => redis.del(name, `${name}:sent`))
    return { name, stream: createNotificationStream(redis, name, 10_000) }
  }
  const pageOf = (known: number | null, entries: readonly { event: EventToTell; previous: number | null }[]) => ({
    partition: 0,
    known,
    last: entries.at(-1)?.event.offset ?? 0,
    entries,
  })

  t.test('each field arrives as it was, whatever is in it, in order', async (t) => {
    const { name, stream } = open()
    // More than one step of the script.
    const texts = Array.from({ length: 20 }, () => HOSTILE).flat()
    const entries = texts.map((text, offset) => ({ event: eventOf(offset, text), previous: offset === 0 ? null : offset - 1 }))
    t.equal((await stream.add([pageOf(null, entries)])).size, 0)
    const found = await redis.xrange(name, '-', '+')
    t.strictSame(
      found.map(([, fields]) => fields),
      entries.map(({ event, previous }) => fieldsOf(event, previous)),
    )
    t.strictSame(await stream.sent(), new Map([[0, texts.length - 1]]))
  })

  t.test('a payload of a megabyte', async (t) => {
    const { name, stream } = open()
    const payload = JSON.stringify({ text: 'x"\\'.repeat(350_000) })
    t.equal((await stream.add([pageOf(null, [{ event: { ...eventOf(0, 'a'), payload }, previous: null }])])).size, 0)
    const [entry] = await redis.xrange(name, '-', '+')
    t.ok(entry?.[1].includes(payload), 'arrives byte for byte')
  })

  t.test('pages of several partitions: each is taken or refused by itself', async (t) => {
    const { name, stream } = open()
    const of = (partition: number, known: number | null, offsets: number[], payload = '{}') => ({
      partition,
      known,
      last: offsets.at(-1) ?? 0,
      entries: offsets.map((offset) => ({ event: { ...eventOf(offset, 'a'), partition, payload }, previous: null })),
    })
    const many = Array.from({ length: 90 }, (_, offset) => offset)
    const large = JSON.stringify('x'.repeat(700_000))
    const pages = [
      of(1, null, [2 ** 52]),
      of(2, 7, [8]),
      of(3, null, many),
      of(4, null, many),
      of(5, null, [0], large),
      of(6, null, [0], large),
    ]
    t.strictSame(await stream.add(pages), new Set([2]))
    t.equal(await redis.xlen(name), 1 + 90 + 90 + 2)
    t.strictSame(
      await stream.sent(),
      new Map([
        [1, 2 ** 52],
        [3, 89],
        [4, 89],
        [5, 0],
        [6, 0],
      ]),
    )
    t.strictSame(await stream.add([of(1, 2 ** 52, [2 ** 52 + 1]), of(4, 90, [91])]), new Set([4]), 'what was sent before is known')
  })

  t.test('a page is refused where what went before it was lost; nothing of it is added', async (t) => {
    const { name, stream } = open()
    const page = pageOf(4, [{ event: eventOf(5, 'a'), previous: 4 }])
    t.strictSame(await stream.add([page]), new Set([0]))
    t.equal(await redis.xlen(name), 0)
    t.equal((await stream.add([pageOf(null, [{ event: eventOf(4, 'a'), previous: null }])])).size, 0)
    t.equal((await stream.add([page])).size, 0)
    t.equal(await redis.xlen(name), 2)
  })
})
