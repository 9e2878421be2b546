// The log of a server, as a person wants to see it.

import { createReadStream, existsSync, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { RefoldError } from '../errors.ts'
import { lastLines } from './process.ts'
import { logOf } from './stack.ts'
import { stackFolder } from './state.ts'
import type { ServerName } from './state.ts'

const NAMES: readonly ServerName[] = ['kafka', 'kafka-2', 'kafka-3', 'registry', 'postgres', 'redis']

/** Writes the last lines of a server's log to stdout, and, with `follow`, what comes after, until a signal ends the process. */
export async function showLog(server: string, lines: number, follow: boolean): Promise<void> {
  const name = NAMES.find((known) => known === server)
  if (!name) throw new RefoldError('usage', `there is no server ${server}; there are ${NAMES.join(', ')}`)
  const file = logOf(stackFolder(), name)
  if (!existsSync(file)) throw new RefoldError('stack-not-running', `${name} was never started here`)
  let from = statSync(file).size
  process.stdout.write(`${lastLines(file, lines)}\n`)
  if (!follow) return
  for (;;) {
    const { size } = statSync(file)
    if (size > from) await pipeline(createReadStream(file, { start: from, end: size - 1 }), process.stdout, { end: false })
    from = size
    await delay(300)
  }
}
