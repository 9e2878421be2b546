// `refold notifications`: the Redis stream as downstream readers see it, and its dead letters. Asks Redis itself.

import type { Command } from 'commander'
import { RefoldError } from '../errors.ts'
import type { RedisConnection as Redis } from '../reader/connection.ts'
import { asJson, columns, example, JSON_OPTION, type Output, print, whole } from './output.ts'
import { oneLine, sheet, table } from './table.ts'

type Options = Output & { stream?: string }

async function open({ stream: given }: Options): Promise<{ redis: Redis; stream: string; close: () => void }> {
  const [{ readConfig }, { resolveRedis }, { openRedis }] = await Promise.all([
    import('../config.ts'),
    import('../stack/addresses.ts'),
    import('../reader/connection.ts'),
  ])
  const config = readConfig(process.env)
  const known = config.topicPrefix === 'refold' ? 'workflow:events:global' : `${config.topicPrefix}:workflow:events:global`
  const redis = await openRedis(resolveRedis(config))
  return { redis, stream: given ?? config.notificationStream ?? known, close: () => redis.disconnect() }
}

async function withRedis(options: Options, work: (redis: Redis, stream: string) => Promise<void>): Promise<void> {
  let opened: Awaited<ReturnType<typeof open>> | undefined
  try {
    opened = await open(options)
    await work(opened.redis, opened.stream)
  } catch (cause) {
    if (cause instanceof RefoldError) throw cause
    const message = cause instanceof Error ? cause.message : String(cause)
    if (message.startsWith('ERR Invalid stream ID'))
      throw new RefoldError('usage', 'that is no id of an entry; they look like 1700000000000-0, see refold notifications dlq list', {
        cause,
      })
    if (message.startsWith('WRONGTYPE'))
      throw new RefoldError('usage', `${opened?.stream} is no stream in this Redis: give the one of the notifier with --stream`, { cause })
    throw new RefoldError('redis-unavailable', message, { cause })
  } finally {
    opened?.close()
  }
}

type Entry = [id: string, fields: string[]]

/** Id of the newest entry that a stream ever had. */
async function newestId(redis: Redis, stream: string): Promise<string> {
  // Of a key that is not there, an error.
  if ((await redis.exists(stream)) === 0) return '0-0'
  const facts = (await redis.xinfo('STREAM', stream)) as unknown[]
  return String(facts[facts.indexOf('last-generated-id') + 1])
}

/** The newest entries, and what comes. */
export async function* entriesOf(redis: Redis, stream: string, count: number, follows: boolean): AsyncGenerator<Entry> {
  // Asked before the look: where that finds none, the wait begins here. `$` would be the end as it is only when the wait begins.
  let last = follows ? await newestId(redis, stream) : ''
  // Redis answers null where none is asked for.
  const newest = (await redis.xrevrange(stream, '+', '-', 'COUNT', count)) as Entry[] | null
  for (const entry of (newest ?? []).toReversed()) {
    yield entry
    last = entry[0]
  }
  if (!follows) return
  for (;;)
    for (const entry of (await redis.xread('BLOCK', 1000, 'STREAMS', stream, last))?.[0]?.[1] ?? []) {
      yield entry
      last = entry[0]
    }
}

async function tail(options: Options & { count: number; follow?: boolean }): Promise<void> {
  await withRedis(options, async (redis, stream) => {
    const { readNotification } = await import('../reader/notification.ts')
    const show = ([id, fields]: [string, string[]]) => {
      const one = readNotification(id, fields)
      if (asJson(options)) print(JSON.stringify(one))
      else
        print(
          oneLine(
            `${one.position}  ${one.timestamp}  ${one.tenant}  ${one.executionId}  ${one.eventName}  ${one.toState ?? ''}  ${one.payloadJson}`,
            columns(),
          ),
        )
    }
    for await (const entry of entriesOf(redis, stream, options.count, options.follow === true)) show(entry)
  })
}

/** A stream that nothing was sent to yet is not there, and has no group. */
function noneOfAbsent(error: unknown): [] {
  if (error instanceof Error && error.message.includes('no such key')) return []
  throw error
}

async function groups(options: Options): Promise<void> {
  await withRedis(options, async (redis, stream) => {
    const found = (await redis.xinfo('GROUPS', stream).catch(noneOfAbsent)) as unknown[][]
    const rows = found.map(
      (flat) => new Map(flat.flatMap((name, i) => (i % 2 === 0 ? [[String(name), String(flat[i + 1])] as const] : []))),
    )
    if (asJson(options)) {
      print(JSON.stringify(rows.map((row) => Object.fromEntries(row))))
      return
    }
    const cells = rows.map((row) => ['name', 'consumers', 'pending', 'lag', 'last-delivered-id'].map((name) => row.get(name) ?? ''))
    print(
      cells.length === 0
        ? `No group reads ${stream}.`
        : table(['GROUP', 'CONSUMERS', 'PENDING', 'LAG', 'LAST DELIVERED'], cells, columns()),
    )
  })
}

async function list(options: Options & { limit: number }): Promise<void> {
  await withRedis(options, async (redis, stream) => {
    const { listDeadLetters } = await import('../reader/dead-letters.ts')
    const letters = await listDeadLetters(redis, stream, options.limit)
    if (asJson(options)) print(JSON.stringify(letters))
    else if (letters.length === 0) print('None.')
    else
      print(
        table(
          ['LETTER', 'MOVED', 'ORIGINAL', 'ERROR'],
          letters.map((one) => [one.id, one.movedAt, one.originalId, one.errorMessage]),
          columns(),
        ),
      )
  })
}

async function view(id: string, options: Options): Promise<void> {
  await withRedis(options, async (redis, stream) => {
    const { viewDeadLetter } = await import('../reader/dead-letters.ts')
    const letter = await viewDeadLetter(redis, stream, id)
    if (!letter) throw new RefoldError('not-found', `no dead letter ${id} of ${stream}`)
    if (asJson(options)) {
      print(JSON.stringify(letter))
      return
    }
    const fields = letter.fields.flatMap((name, i): [string, string][] => (i % 2 === 0 ? [[`  ${name}`, letter.fields[i + 1] ?? '']] : []))
    print(
      sheet([
        ['letter', letter.id],
        ['original', `${letter.originalId} of ${letter.sourceStream}`],
        ['moved', letter.movedAt],
        ['error', letter.errorMessage],
      ]),
    )
    print(`message\n${sheet(fields)}`)
    const stack = letter.errorStack.split('\n').map((line) => oneLine(line))
    print(['stack', ...stack].join('\n'))
  })
}

async function redrive(ids: string[], options: Options): Promise<void> {
  await withRedis(options, async (redis, stream) => {
    const { redriveDeadLetter } = await import('../reader/dead-letters.ts')
    for (const id of ids) {
      const added = await redriveDeadLetter(redis, stream, id)
      if (added === undefined) throw new RefoldError('not-found', `no dead letter ${id} of ${stream}`)
      print(asJson(options) ? JSON.stringify({ letter: id, entry: added }) : `${id} is back in ${stream} as ${added}`)
    }
  })
}

export function register(program: Command): void {
  const group = program.command('notifications').description('the Redis stream: what readers see, their groups, dead letters')
  const of = (parent: Command, name: string, about: string) =>
    parent
      .command(name)
      .description(about)
      .option('--stream <key>', 'another stream than the one that is set')
      .option(...JSON_OPTION)
  of(group, 'tail', 'the newest notifications')
    .option('--count <count>', 'so many', whole, 20)
    .option('--follow', 'and what comes, until Ctrl-C')
    .addHelpText('after', example('refold notifications tail --follow'))
    .action(tail)
  of(group, 'groups', 'who reads, how far behind').addHelpText('after', example('refold notifications groups')).action(groups)
  const letters = group.command('dlq').description('dead letters: what a group failed at three times')
  of(letters, 'list', 'the oldest first')
    .option('--limit <count>', 'at most so many', whole, 50)
    .addHelpText('after', example('refold notifications dlq list'))
    .action(list)
  of(letters, 'view', 'one of them, whole')
    .argument('<id>', 'its id')
    .addHelpText('after', example('refold notifications dlq view 1764200000000-0'))
    .action(view)
  of(letters, 'redrive', 'put back into the stream, byte for byte')
    .argument('<ids...>', 'their ids')
    .addHelpText('after', example('refold notifications dlq redrive 1764200000000-0'))
    .action(redrive)
}
