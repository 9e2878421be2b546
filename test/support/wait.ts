// Tests wait for something to be true, never for a time.

import { setTimeout as pause } from 'node:timers/promises'

type Options = {
  /** Milliseconds until the wait fails; generous, since it is only reached when a test fails. */
  within?: number
  /** Milliseconds between two looks. */
  every?: number
  /** What is waited for, for the error message; a function is asked when the wait fails. */
  what?: string | (() => string)
}

/** Resolves with the first truthy answer of `condition`; rejects when there is none in time, or when `condition` throws. */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: Options = {},
): Promise<Exclude<T, false | 0 | '' | null | undefined>> {
  const { within = 20_000, every = 10, what = () => String(condition) } = options
  const end = performance.now() + within
  for (;;) {
    const answer = await condition()
    if (answer) return answer as Exclude<T, false | 0 | '' | null | undefined>
    if (performance.now() > end) {
      const name = typeof what === 'function' ? what() : what
      throw new Error(`Waited ${within} ms in vain for: ${name}`)
    }
    await pause(every)
  }
}
