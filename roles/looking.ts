// A role that looks, again and again until it ends, at which generations and operations there are, and acts on it.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Logger } from 'pino'

/** Between two looks, ms. */
const LOOK_EVERY = 500

/**
 * `failed`: the line that is logged when a look fails; the next one is tried then. `first`: before the first look, ms. `stop` resolves
 * once the look under way is over.
 */
export function keepLooking(
  look: () => Promise<void>,
  logger: Logger,
  failed: string,
  { every = LOOK_EVERY, first = 0 }: { every?: number; first?: number } = {},
): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const rest = (ms: number) => pause(ms, undefined, { signal: stopping.signal }).catch(() => undefined)
  async function run(): Promise<void> {
    if (first > 0) await rest(first)
    while (!stopping.signal.aborted) {
      try {
        await look()
      } catch (error) {
        logger.warn({ error: asError(error).message }, failed)
      }
      await rest(every)
    }
  }
  const running = run()
  return { stop: () => (stopping.abort(), running) }
}
