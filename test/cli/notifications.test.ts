// `refold notifications` as a person runs it, in a process of its own, against a real Redis.

import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { registerConsumer } from '../../reader/index.ts'
import { fieldsOf } from '../../workflow/notification.ts'
import { runRefold } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(120_000)

/** What is easily changed on the way: digits beyond a double's, escapes, spaces, order of keys, letters beyond the first plane. */
const PAYLOAD = '{"n": 9007199254740993,  "b":1.50, "a":"ü \\u0000 \\" \\n 😀", "a":null}'
const TERMINAL = '--import=data:text/javascript,process.stdout.isTTY=true;process.stdout.columns=200'

async function useStream(t: Test) {
  const { redisUrl } = useStack(t, ['redis'])
  if (!redisUrl) return undefined
  const url = `${redisUrl}/${1 + (process.pid % 15)}`
  const redis = new Redis(url)
  const prefix = `test-${randomBytes(6).toString('hex')}`
  const stream = `${prefix}:workflow:events:global`
  t.teardown(async () => {
    await redis.del(stream, `${stream}:dlq`, `${stream}:seen:service`, `${prefix}-text`)
    redis.disconnect()
  })
  // Redis is all that these commands are told of: who consumes has no Kafka and no Postgres.
  const { KAFKA_BROKERS: _, SCHEMA_REGISTRY_URL: __, DATABASE_URL: ___, ...own } = process.env
  const env = { ...own, REFOLD_STACK: t.testdir(), REDIS_URL: url, REFOLD_TOPIC_PREFIX: prefix }
  const add = async (n: number) => {
    const told = fieldsOf(
      {
        event_id: `event-${n}`,
        execution_id: `execution-${n}`,
        event_name: 'order.placed',
        event_type: 'workflow',
        tenant: 'demo',
        created_at: Date.UTC(2026, 10, 27),
        user_id: null,
        from_state: 'initial',
        to_state: 'placed',
        payload: PAYLOAD,
        seq: n,
        partition: 3,
        offset: n,
      },
      n - 1,
    )
    return String(await redis.xadd(stream, '*', ...told))
  }
  return {
    url,
    redis,
    prefix,
    stream,
    add,
    run: (...args: string[]) => runRefold(['notifications', ...args], env),
    onTerminal: (...args: string[]) => runRefold(['notifications', ...args], { ...env, NODE_OPTIONS: TERMINAL }),
  }
}

/** Dead letters made as they are made: by a reader whose handler fails. */
async function failAt({ url, redis, stream }: NonNullable<Awaited<ReturnType<typeof useStream>>>, count: number) {
  const reader = await registerConsumer(
    stream,
    ({ position }) => {
      throw new Error(`no room for \u001B[31m${position}`)
    },
    { url, group: 'service', from: '0', backOff: () => 1, failed: () => undefined },
  )
  await until(async () => (await redis.xlen(`${stream}:dlq`)) === count, { what: `${count} dead letters` })
  await reader.stop()
}

t.test('tail: the newest, the oldest of them first', async (t) => {
  const here = await useStream(t)
  if (!here) return
  t.match(await here.run('tail'), { code: 0, stdout: '', stderr: '' }, 'a stream that is not there yet has none')
  const ids = [await here.add(1), await here.add(2), await here.add(3)]
  const { code, stdout } = await here.run('tail', '--count', '2')
  t.equal(code, 0)
  t.match(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object),
    [
      { id: ids[1], position: 'p3:2', previousPosition: 'p3:1', seq: 2, userId: null, payloadJson: PAYLOAD },
      { id: ids[2], position: 'p3:3', tenant: 'demo', eventName: 'order.placed', timestamp: '2026-11-27T00:00:00.000Z' },
    ],
  )
  const seen = await here.onTerminal('tail')
  t.equal(
    seen.stdout.split('\n')[0],
    `p3:1  2026-11-27T00:00:00.000Z  demo  execution-1  order.placed  placed  ${PAYLOAD}`,
    'a line for people',
  )
  t.match(await here.run('tail', '--count', '0'), { code: 0, stdout: '', stderr: '' }, 'none of them')
  t.equal((await here.run('tail', '--stream', `${here.prefix}-other`)).stdout, '', 'another stream')
})

t.test('groups: who reads, how far behind', async (t) => {
  const here = await useStream(t)
  if (!here) return
  t.match(await here.run('groups'), { code: 0, stdout: '[]\n' })
  t.equal((await here.onTerminal('groups')).stdout, `No group reads ${here.stream}.\n`)
  const first = await here.add(1)
  await here.add(2)
  await here.redis.xgroup('CREATE', here.stream, 'shipping', '0')
  await here.redis.xreadgroup('GROUP', 'shipping', 'me', 'COUNT', 1, 'STREAMS', here.stream, '>')
  const [group] = JSON.parse((await here.run('groups')).stdout) as Record<string, string>[]
  t.match(group, { name: 'shipping', consumers: '1', pending: '1', 'last-delivered-id': first })
  const [heading, row] = (await here.onTerminal('groups')).stdout.split('\n')
  t.match(heading, /^GROUP +CONSUMERS +PENDING +LAG +LAST DELIVERED$/)
  t.match(row, new RegExp(`^shipping +1 +1 .* ${first}$`))
})

t.test('dlq: list, view, and redrive, which gives the payload back byte for byte', async (t) => {
  const here = await useStream(t)
  if (!here) return
  t.match(await here.run('dlq', 'list'), { code: 0, stdout: '[]\n' })
  t.equal((await here.onTerminal('dlq', 'list')).stdout, 'None.\n')
  const original = await here.add(1)
  const [[, sent]] = (await here.redis.xrangeBuffer(here.stream, original, original)) as [[Buffer, Buffer[]]]
  await here.add(2)
  await failAt(here, 2)
  const letters = JSON.parse((await here.run('dlq', 'list')).stdout) as { id: string; originalId: string; fields: string[] }[]
  t.equal(letters.length, 2)
  const letter = letters.find(({ originalId }) => originalId === original)!
  t.equal(letter.fields[letter.fields.indexOf('payload_json') + 1], PAYLOAD)
  t.equal((JSON.parse((await here.run('dlq', 'list', '--limit', '1')).stdout) as object[]).length, 1)
  t.equal((await here.run('dlq', 'list', '--limit', '0')).stdout, '[]\n')
  t.match(
    (await here.onTerminal('dlq', 'list')).stdout,
    /^LETTER +MOVED +ORIGINAL +ERROR\n(?:\d+-\d+ +20\S+Z +\d+-\d+ +no room for .*\n){2}$/,
  )

  t.strictSame(JSON.parse((await here.run('dlq', 'view', letter.id)).stdout), letter)
  const viewed = (await here.onTerminal('dlq', 'view', letter.id)).stdout
  t.match(viewed, new RegExp(`^letter +${letter.id}\noriginal +${original} of ${here.stream}\nmoved +20.*\nerror +no room for`))
  t.ok(viewed.includes(`payload_json       ${PAYLOAD}\n`), viewed)
  t.match(viewed, /stack\nError: no room for .*p3:1\n +at .*notifications.test.ts/)
  t.notOk(viewed.includes('\u001B'), 'nothing of it moves the cursor')

  const { code, stdout } = await here.run('dlq', 'redrive', letter.id)
  t.equal(code, 0)
  const { letter: told, entry } = JSON.parse(stdout) as { letter: string; entry: string }
  t.equal(told, letter.id)
  const [[, again]] = (await here.redis.xrangeBuffer(here.stream, entry, entry)) as [[Buffer, Buffer[]]]
  t.ok(Buffer.concat(again).equals(Buffer.concat(sent)), 'byte for byte')
  t.equal(again.length, sent.length)
  t.equal(await here.redis.xlen(`${here.stream}:dlq`), 1)
  const other = letters.find(({ id }) => id !== letter.id)!
  t.match((await here.onTerminal('dlq', 'redrive', other.id)).stdout, `${other.id} is back in ${here.stream} as `)
  t.equal(await here.redis.xlen(`${here.stream}:dlq`), 0)
})

t.test('a letter is gone after its redrive, also when its id was given without a number', async (t) => {
  const here = await useStream(t)
  if (!here) return
  for (const id of ['1764200000000-0', '1764200000000-1'])
    await here.redis.xadd(
      `${here.stream}:dlq`,
      id,
      'original_message',
      JSON.stringify(['event_name', id]),
      'source_stream',
      here.stream,
      'original_id',
      '1-0',
    )
  t.equal((await here.run('dlq', 'redrive', '1764200000000-0')).code, 0)
  const { stdout } = await here.run('dlq', 'redrive', '1764200000000')
  t.match(JSON.parse(stdout), { letter: '1764200000000' })
  t.equal(await here.redis.xlen(`${here.stream}:dlq`), 0)
  t.equal(await here.redis.xlen(here.stream), 2)
})

t.test('what cannot be done is said, with what to do', async (t) => {
  const here = await useStream(t)
  if (!here) return
  for (const verb of ['view', 'redrive']) {
    t.match(await here.run('dlq', verb, '1-0'), { code: 1, stdout: '', stderr: /no dead letter 1-0 of / }, verb)
    t.match(await here.run('dlq', verb, 'banana'), { code: 2, stdout: '', stderr: /no id of an entry.*dlq list/ }, verb)
    t.match(await here.run('dlq', verb), { code: 2, stderr: /missing required argument/ }, verb)
  }
  t.match(await here.run('tail', '--count', 'x'), { code: 2, stderr: /whole number/ })
  t.match(await here.run('dlq', 'list', '--limit', '-1'), { code: 2, stderr: /whole number/ })
  t.match(await here.run('tial'), { code: 2, stderr: /tail/ }, 'a near name')
  const text = `${here.prefix}-text`
  await here.redis.set(text, 'x')
  for (const what of [['tail'], ['groups']])
    t.match(await here.run(...what, '--stream', text), { code: 2, stdout: '', stderr: new RegExp(`${text} is no stream`) }, what.join(' '))
  const away = await runRefold(['notifications', 'groups'], { ...process.env, REDIS_URL: 'redis://127.0.0.1:1' })
  t.match(away, { code: 1, stdout: '', stderr: /^refold: .*Redis.*ECONNREFUSED/s })
})

t.test('--help says what each does, with an example', async (t) => {
  const env = { ...process.env, REFOLD_STACK: t.testdir() }
  const help = async (...args: string[]) => (await runRefold(['notifications', ...args, '--help'], env)).stdout
  t.match(await help(), /tail .*\n +groups .*\n +dlq /)
  t.match(await help('dlq'), /list .*\n +view .*\n +redrive /)
  for (const args of [['tail'], ['groups'], ['dlq', 'list'], ['dlq', 'view'], ['dlq', 'redrive']]) {
    const told = await help(...args)
    t.match(told, new RegExp(`Example:\n  refold notifications ${args.join(' ')}`))
    t.match(told, /--stream <key>/)
    t.match(told, /--json/)
  }
})
