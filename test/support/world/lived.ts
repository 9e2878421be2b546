// Starts test/support/world/live.ts.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Life, Lived } from './live.ts'

const LIVE = path.join(import.meta.dirname, 'live.ts')

/** One life, in a process of its own. */
export async function lived(life: Life): Promise<Lived> {
  const child = fork(LIVE, { execArgv: ['--disable-warning=TimeoutNegativeWarning'] })
  const over = once(child, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${String(code)}`)))
  over.catch(() => undefined)
  child.send(life)
  const [answer] = await Promise.race([once(child, 'message'), over])
  return answer as Lived
}
