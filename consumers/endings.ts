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
  /** Tells of the ending, once; answers how to stop listening. */
  listen(tenant: string, executionId: string, told: (ending: Ending) => void): () => void
}

export function createEndings(): Endings {
  const listening = new Map<string, Set<(ending: Ending) => void>>()
  return {
    tells: () => false,
    ended(ending) {
      const key = executionKey(ending.event.tenant, ending.event.execution_id)
      const all = listening.get(key)
      listening.delete(key)
      for (const told of all ?? []) told(ending)
    },
    listen(tenant, executionId, told) {
      const key = executionKey(tenant, executionId)
      const all = listening.get(key) ?? new Set()
      listening.set(key, all.add(told))
      return () => {
        all.delete(told)
        if (all.size === 0 && listening.get(key) === all) listening.delete(key)
      }
    },
  }
}
