// accepted decisions → runtime → [who waits for an end] → REST
//
// A client that waits for a result is told by the runtime of its own process as soon as the last decision is read back,
// before Postgres has it. Where the runtime is elsewhere, nobody is told here and the reads answer.

import { executionKey } from '../workflow/execution.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'

/** An execution's last event, and where it is. */
export type Ending = { event: WorkflowEvent; partition: number; offset: number }

export type Endings = {
  /** Told by the runtime. */
  ended(ending: Ending): void
  /** Set by a runtime of this process: it tells of the executions of these partitions. */
  tells: (partition: number) => boolean
  /** Resolves with the ending, or undefined when the signal aborts. */
  wait(tenant: string, executionId: string, signal: AbortSignal): Promise<Ending | undefined>
}

export function createEndings(): Endings {
  const waiting = new Map<string, Set<(ending: Ending) => void>>()
  return {
    tells: () => false,
    ended(ending) {
      const key = executionKey(ending.event.tenant, ending.event.execution_id)
      for (const resolve of waiting.get(key) ?? []) resolve(ending)
    },
    wait: (tenant, executionId, signal) =>
      new Promise((resolve) => {
        const key = executionKey(tenant, executionId)
        const all = waiting.get(key) ?? new Set()
        waiting.set(key, all)
        const leave = () => {
          signal.removeEventListener('abort', onAbort)
          all.delete(onEnd)
          if (all.size === 0) waiting.delete(key)
        }
        const onEnd = (ending: Ending) => {
          leave()
          resolve(ending)
        }
        const onAbort = () => {
          leave()
          resolve(undefined)
        }
        if (signal.aborted) return resolve(undefined)
        all.add(onEnd)
        signal.addEventListener('abort', onAbort, { once: true })
      }),
  }
}
