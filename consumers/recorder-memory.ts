// What the recorder keeps of a partition between two batches, so that it needn't read back what it has just written.
//
// M1  It is used only when the next batch begins where the last one of this process was committed: whoever else writes a
//     partition moves its checkpoint, and then the memory is dropped.
// M2  A batch that failed, whose commit may or may not have happened, drops it too.
// M3  It is dropped when another generation of the derived tables is live: theirs may be the states of another fold.
// M4  Only executions are kept of which every accepted id is known; of others the database is asked.
// M5  What it holds is bounded by executions and by their ids together: one with a long history takes the place of many.

import { LRUCache } from 'lru-cache'
import { executionKey } from '../workflow/execution.ts'
import type { Folded, Known, Need } from './recorder-fold.ts'
import { settledWork } from './recorder-work.ts'

/** M5. Accepted ids of a partition: so many for each execution that may be kept, and never fewer in all. */
const IDS_EACH = 32
const IDS_LEAST = 4096

export type Recalled = { known: Map<string, Known>; unknown: Need[]; blank: boolean }

export type RecorderMemory = {
  /** Splits what a batch needs into what is remembered and what must be read. `blank`: nothing of the partition is remembered. */
  recall(partition: number, from: number, generation: number, needs: readonly Need[]): Recalled
  /** After a commit: what the batch left. */
  keep(partition: number, next: number, generation: number, folded: readonly Folded[]): void
  drop(partition: number): void
}

/** Keeps at most `max` executions of each partition; 0 keeps none. */
export function createRecorderMemory(max: number): RecorderMemory {
  const maxSize = Math.max(IDS_LEAST, IDS_EACH * max)
  const partitions = new Map<number, { next: number; generation: number; executions: LRUCache<string, Known> }>()
  return {
    recall(partition, from, generation, needs) {
      const known = new Map<string, Known>()
      const memory = partitions.get(partition)
      if (!memory || memory.next !== from || memory.generation !== generation) {
        partitions.delete(partition)
        return { known, unknown: [...needs], blank: true }
      }
      const unknown: Need[] = []
      for (const need of needs) {
        const key = executionKey(need.tenant, need.executionId)
        const execution = memory.executions.get(key)
        if (execution) known.set(key, execution)
        else unknown.push(need)
      }
      return { known, unknown, blank: false }
    },
    keep(partition, next, generation, folded) {
      if (max === 0) return
      const known = partitions.get(partition)
      const memory =
        known?.generation === generation ? known : { next, generation, executions: new LRUCache<string, Known>({ max, maxSize }) }
      memory.next = next
      for (const { tenant, executionId, head, state, contents, work } of folded) {
        const key = executionKey(tenant, executionId)
        if (contents) {
          const ids = contents.settle()
          const one: Known = { head, state, contents: ids, complete: true, ...(work ? { work: settledWork(work) } : {}) }
          memory.executions.set(key, one, { size: 1 + ids.size })
        } else memory.executions.delete(key)
      }
      partitions.set(partition, memory)
    },
    drop: (partition) => void partitions.delete(partition),
  }
}
