// `refold events`: send them, and follow what is accepted.

import { type Command, InvalidArgumentError } from 'commander'
import type { SendOptions } from './events/send.ts'
import type { TailOptions } from './events/tail.ts'
import { example, JSON_OPTION, whole } from './output.ts'

const jsonText = (text: string): string => {
  try {
    JSON.parse(text)
    return text
  } catch (error) {
    throw new InvalidArgumentError(`it is not JSON: ${error instanceof Error ? error.message : String(error)}.`)
  }
}

async function send(options: SendOptions): Promise<void> {
  const sending = await import('./events/send.ts')
  await sending.send(options)
}

async function tail(options: TailOptions): Promise<void> {
  const [following, { firstSignal }] = await Promise.all([import('./events/tail.ts'), import('./signals.ts')])
  const stop = new AbortController()
  if (options.follow) void firstSignal().then(() => stop.abort())
  process.stdout.once('error', () => stop.abort()) // who read it went away, as `head` does
  await following.tail(options, stop.signal)
}

export function register(program: Command): void {
  const group = program.command('events').description('send events, and follow those that are accepted')

  group
    .command('send')
    .description('send one event from options, or events as NDJSON from standard input; `refold import` is for files')
    .option('--name <event>', 'what happened, in the past tense')
    .option('--execution <id>', 'the execution; or give --workflow and --key')
    .option('--workflow <name>', 'with --key: the execution is the one with this key')
    .option('--key <key>', 'business key of the execution')
    .option('--to <state>', 'state it moves the execution to')
    .option('--from <state>', 'state the sender saw')
    .option('--payload <json>', 'any JSON value; numbers keep every digit', jsonText)
    .option('--type <label>', 'a free label')
    .option('--user <id>', 'who caused it')
    .option('--created-at <time>', 'when it happened, ISO 8601 with a zone (default: now)')
    .option('--event-id <uuid>', 'the same id again is recognised as a duplicate')
    .option('--correlation <id>', 'groups executions that belong together')
    .option('--causation <id>', 'id of the event that caused it')
    .option('--idempotency-key <key>', 'the same key and the same events again count once; of one event or of a whole input')
    .option('--wait <seconds>', 'wait so long, at most 60, for the verdict; 0 asks for none', whole, 5)
    .option(...JSON_OPTION)
    .addHelpText(
      'after',
      example(
        `refold events send --name order.placed --workflow order --key o-1 --to placed --payload '{"total": 12.50}'`,
        'cat events.ndjson | refold events send --idempotency-key monday',
      ),
    )
    .action(send)

  group
    .command('tail')
    .description('accepted events of all executions, as they come, until Ctrl-C')
    .option('--after <positions>', 'go on after these, as p3:17,p7:120345; `start` begins at the first event (default: now)')
    .option('--limit <count>', 'of one request', whole, 500)
    .option('--no-follow', 'end where the log ends')
    .option(...JSON_OPTION)
    .addHelpText('after', example('refold events tail --after start --no-follow > events.ndjson'))
    .action(tail)
}
