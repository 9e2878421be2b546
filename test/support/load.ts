// A steady load: calls at a rate, however long each takes.

import { setTimeout as pause } from 'node:timers/promises'

/** Calls `send` `rate` times a second for `ms`; gives how often it was called. What `send` starts is not waited for. */
export async function steadyLoad(rate: number, ms: number, send: () => void): Promise<number> {
  const began = performance.now()
  let calls = 0
  for (let passed = 0; passed < ms; passed = performance.now() - began) {
    for (; calls < (passed * rate) / 1000; calls++) send()
    await pause(5)
  }
  return calls
}
