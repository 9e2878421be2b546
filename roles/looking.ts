// A role that looks, again and again until it ends, at which generations and operations there are, and acts on it.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Logger } from 'pino'

/** Between two looks, ms. */
const LOOK_EVERY = 500

/** `failed`: the line that is logged when a look fails; the next one is tried then. `stop` resolves once the look under way is over. */
export function keepLooking(look: () => Promise<void>, logger: Logger, failed: string): { stop(): Promise<void> } {
  const stopping = new AbortController()
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await look()
      } catch (error) {
        logger.warn({ error: asError(error).message }, failed)
      }
      await pause(LOOK_EVERY, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const running = run()
  return { stop: () => (stopping.abort(), running) }
}
