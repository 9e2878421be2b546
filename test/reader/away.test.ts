// A Redis that is away: told soon and once, by its address; reading begins by itself when it is there.

import { randomBytes } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { Redis } from 'ioredis'
import t from 'tap'
import { tellAway } from '../../reader/away.ts'
import { registerConsumer } from '../../reader/index.ts'
import { doorTo } from '../support/door.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const SOON = 2000

t.test('a consumer that finds no Redis says so, once, and begins by itself when it is there', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return
  const door = await doorTo(redisUrl)
  t.teardown(() => door.close())
  const stream = `test-${randomBytes(6).toString('hex')}`
  door.shut()
  const told: Error[] = []
  const began = performance.now()
  const handled: string[] = []
  const registering = registerConsumer(stream, ({ eventName }) => void handled.push(eventName), {
    url: door.url,
    group: 'g',
    from: '0',
    failed: (error) => told.push(error),
  })
  await until(() => told.length > 0, { within: SOON, what: 'it to say so' })
  t.ok(performance.now() - began < SOON)
  t.match(told[0]?.message, new RegExp(`^Redis at ${new URL(door.url).host} is not ready \\(connect ECONNREFUSED .*\\): .*by itself`))
  // Long enough for some tries of both connections.
  await until(() => performance.now() - began > 3000)
  t.equal(told.length, 1, 'once, not with each try')
  await door.open()
  const direct = new Redis(door.url)
  t.teardown(async () => {
    await direct.del(stream, `${stream}:seen:g`)
    direct.disconnect()
  })
  const consumer = await registering
  await direct.xadd(stream, '*', 'event_name', 'thing.happened', 'position', 'p0:1')
  await until(() => handled.length === 1, { what: 'the entry' })
  door.shut()
  await until(() => told.length === 2, { within: SOON + 1000, what: 'it to be told when Redis goes, too' })
  await door.open()
  await direct.xadd(stream, '*', 'event_name', 'thing.happened', 'position', 'p0:2')
  await until(() => handled.length === 2, { what: 'the entry after it' })
  await consumer.stop()
  t.equal(told.length, 2)
})

t.test('where nobody asked to be told, it is a warning of the process', async (t) => {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return
  const door = await doorTo(redisUrl)
  t.teardown(() => door.close())
  door.shut()
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
  const stream = `test-${randomBytes(6).toString('hex')}`
  const registering = registerConsumer(stream, () => undefined, { url: door.url, group: 'g' })
  t.match(await warned, { name: 'RefoldReader', message: /^Redis at 127/ })
  await door.open()
  await (await registering).stop()
  const direct = new Redis(door.url)
  await direct.del(stream)
  direct.disconnect()
})

t.test('so does one whose server takes a connection and says nothing', async (t) => {
  const sockets: Socket[] = []
  const silent = createServer((socket) => sockets.push(socket))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as { port: number }
  const redis = new Redis(port, { maxRetriesPerRequest: null })
  const told: string[] = []
  const telling = tellAway([redis], ({ message }) => told.push(message))
  t.teardown(() => {
    telling.end()
    redis.disconnect()
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  await until(() => told.length > 0, { within: SOON, what: 'it to say so' })
  t.match(told, [`Redis at localhost:${port} is not ready: `])
})
