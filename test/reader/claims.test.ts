// What a member has in hand stays its own, however slow it is; what it lost it leaves alone.

import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Handler } from '../../reader/index.ts'
import { useStream } from '../support/reader-stream.ts'
import { until } from '../support/wait.ts'

t.test('a slow member and a quick one handle each entry once', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const handled: string[] = []
  const taking =
    (ms: number): Handler =>
    async ({ position }, { delivery }) => {
      handled.push(`${position} ${delivery}`)
      await pause(ms)
    }
  for (let offset = 0; offset < 60; offset++) await here.add(offset)
  const slow = await here.register(taking(40), { idle: 600 })
  t.teardown(() => slow.stop())
  await until(() => handled.length > 0)
  const quick = await here.register(taking(1), { idle: 600 })
  t.teardown(() => quick.stop())
  await until(async () => handled.length >= 60 && (await here.pending()).length === 0)
  t.strictSame(
    handled,
    Array.from({ length: 60 }, (_, offset) => `p0:${offset} 1`),
  )
})

t.test('nor is one taken over whose handling alone takes longer than all deliveries of it', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const end = Promise.withResolvers<void>()
  const handled: string[] = []
  const handler: Handler = async ({ position }) => {
    handled.push(position)
    await end.promise
  }
  const members = await Promise.all(Array.from({ length: 3 }, () => here.register(handler, { idle: 200 })))
  t.teardown(() => Promise.all(members.map((member) => member.stop())))
  await here.add(1)
  // More than each of its deliveries, and the look at what is pending, would take.
  await pause(2500)
  t.strictSame(handled, ['p0:1'])
  end.resolve()
  await until(async () => (await here.pending()).length === 0)
  t.strictSame(await here.deadLetters(), [])
})

t.test('one that waits is not handled when somebody else has claimed it, and is when the stream has dropped it', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const first = Promise.withResolvers<void>()
  const handled: string[] = []
  const [, claimed, dropped] = [await here.add(1), await here.add(2), await here.add(3), await here.add(4)]
  const member = await here.register(
    async ({ position }, { delivery }) => {
      handled.push(`${position} ${delivery}`)
      await first.promise
    },
    { idle: 600 },
  )
  t.teardown(() => member.stop())
  await until(() => handled.length === 1)
  // As another member does after this one stood still for long.
  await here.direct.xclaim(here.stream, 'g', 'other', 0, claimed!)
  await here.direct.xdel(here.stream, dropped!)
  let idle = 0
  const isRenewed = async () => {
    const before = idle
    idle = ((await here.direct.xpending(here.stream, 'g', '-', '+', 1)) as [string, string, number][])[0]?.[2] ?? 0
    return idle < before
  }
  await until(isRenewed)
  first.resolve()
  await until(() => handled.length === 4)
  t.strictSame(handled, ['p0:1 1', 'p0:3 1', 'p0:4 1', 'p0:2 3'], 'the other died with it: taken over at last')
})

t.test('one that stops keeps what it handles and lets go of the rest', async (t) => {
  const here = await useStream(t)
  if (!here) return
  const end = Promise.withResolvers<void>()
  const handled: string[] = []
  for (const offset of [1, 2, 3]) await here.add(offset)
  const stops = await here.register(
    async ({ position }) => {
      handled.push(`stopping ${position}`)
      await end.promise
    },
    { idle: 300 },
  )
  await until(() => handled.length === 1)
  const stopping = stops.stop()
  const other = await here.register(({ position }) => void handled.push(`other ${position}`), { idle: 300 })
  t.teardown(() => other.stop())
  await until(() => handled.length >= 3)
  end.resolve()
  await stopping
  await until(async () => (await here.pending()).length === 0)
  t.strictSame(handled, ['stopping p0:1', 'other p0:2', 'other p0:3'])
})
