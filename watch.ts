// One typed map of what happens, `stage:noun:phase`, that feeds log lines, metrics and progress. A listener that throws
// breaks nothing: its error is handed to `watch:listener:failed`.

export type Happenings = {
  'recorder:batch:stored': { partition: number; next: number; highWatermark: number; accepted: number; refused: number; ms: number }
  'recorder:batch:overtaken': { partition: number; expected: number }
  'recorder:schema:stored': { schemaId: number }
  'runtime:execution:parked': { tenant: string; executionId: string; kind: string }
  'runtime:outcome:foreseen': { decisions: number }
  'runtime:outcome:unforeseen': { tenant: string; executionId: string }
  'runtime:decisions:resent': { executionId: string }
  'runtime:requests:swept': { partition: number; executions: number }
  'runtime:action:dispatched': { name: string }
  'worker:attempt:ended': { name: string; outcome: 'completed' | 'failed' | 'cached' | 'skipped' | 'handed-back'; ms: number }
  'worker:lock:taken': { name: string }
  'worker:lock:busy': { name: string }
  'worker:memory:away': { error: string }
  'projector:batch:stored': {
    projection: string
    generation: number
    partition: number
    next: number
    highWatermark: number
    events: number
    ms: number
  }
  'projector:partition:parked': { projection: string; generation: number; partition: number; offset: number }
  'projector:event:passed': { projection: string; generation: number; partition: number; offset: number; reason: string }
  'notifier:events:sent': { sent: number; behind: number }
  'notifier:stream:refilled': { sent: number }
  'notifier:round:failed': { error: string }
  'api:request:answered': { method: string; route: string; status: number; ms: number }
  'api:events:taken': { appended: number; refused: number; unknown: number }
  'watch:listener:failed': { happening: string; error: unknown }
}

type Listener<K extends keyof Happenings> = (facts: Happenings[K]) => void

export type Watch = {
  emit<K extends keyof Happenings>(happening: K, facts: Happenings[K]): void
  /** Returns how to stop listening. */
  on<K extends keyof Happenings>(happening: K, listener: Listener<K>): () => void
}

export function createWatch(): Watch {
  const listeners = new Map<keyof Happenings, Set<(facts: never) => void>>()
  const watch: Watch = {
    emit(happening, facts) {
      for (const listener of listeners.get(happening) ?? []) {
        try {
          listener(facts as never)
        } catch (error) {
          if (happening !== 'watch:listener:failed') watch.emit('watch:listener:failed', { happening, error })
        }
      }
    },
    on(happening, listener) {
      const set = listeners.get(happening) ?? new Set()
      listeners.set(happening, set.add(listener))
      return () => set.delete(listener)
    },
  }
  return watch
}
