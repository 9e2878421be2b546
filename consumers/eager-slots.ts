// a decision about to be made → [eager slots] → its attempt, handed over in this process
//
// Which attempts go from a runtime straight to the worker beside it, past the actions topic. Owns: how many of them there are, for
// whom a place is kept. Called by action-worker.ts.
//
// G1  A spare slot is for any attempt: there are few, so that parallel actions spread over all workers.
// G2  A request that this very process would read needs no slot: it is handed over as long as there is room, and the way through the
//     topic is left out. Who runs what stays as it was.
// G3  G2 is for actions that take a moment: until such an attempt has ended, the runtime's checkpoint stays where it is.
// G4  Nor is it where requests wait in the topic for room: they came first.
// G5  An action that this process is about to schedule has a place kept for it, and Redis is asked for its attempt meanwhile: for a
//     moment only, since the decision may be refused, or be somebody else's.

import type { ActionMemory, AttemptName } from './attempt-port.ts'

/** G5. How long a place is kept, ms. */
const KEPT = 1000
/** G3. What an action may usually take, ms. */
const SHORT = 250
/** G3. How much the newest attempt counts. */
const NEWEST = 0.2

type Kind = 'spare' | 'own'

export type EagerSlotsOptions = {
  /** G1. 0: nothing is handed over. */
  spare: number
  memory: Pick<ActionMemory, 'expect' | 'unexpect'>
  /** Whether no more attempts may run here. */
  isFull: () => boolean
  isRunning: (name: string) => boolean
  /** G2, G4. Whether this process would read the request, and at once. */
  isOwn: (actionId: string, queue: string | null) => boolean
}

export type EagerSlots = {
  /** Places that are kept: each will be an attempt. */
  readonly kept: number
  /** G5 */
  keep(asked: AttemptName, queue: string | null): void
  /** Whether the attempt may be handed over; if so it holds its place until `release`. */
  take(wanted: AttemptName, queue: string | null): boolean
  release(wanted: Pick<AttemptName, 'action_id' | 'attempt'>): void
  /** G3. An attempt of this action took so long, ms. */
  took(name: string, ms: number): void
  stop(): void
}

export const attemptName = ({ action_id, attempt }: Pick<AttemptName, 'action_id' | 'attempt'>) => `${action_id}/${attempt}`

// Of the same number: the decision that stands may be another than the one made ahead.
const isSame = (one: AttemptName, other: AttemptName) => one.name === other.name && one.key === other.key

export function createEagerSlots({ spare, memory, isFull, isRunning, isOwn }: EagerSlotsOptions): EagerSlots {
  let taken = 0
  /** Attempts that were handed over and have not ended. */
  const held = new Map<string, Kind>()
  /** G5, by attempt: what was asked of Redis, and until when it is kept. */
  const kept = new Map<string, { asked: AttemptName; kind: Kind; until: NodeJS.Timeout }>()
  /** G3, by the name of the action. */
  const usual = new Map<string, number>()

  function place({ name, action_id }: AttemptName, queue: string | null): Kind | undefined {
    if (spare === 0 || isFull()) return undefined
    if ((usual.get(name) ?? Infinity) < SHORT && isOwn(action_id, queue)) return 'own'
    if (taken >= spare) return undefined
    taken++
    return 'spare'
  }

  function giveBack(kind: Kind): void {
    if (kind === 'spare') taken--
  }

  /** The place that is kept for an attempt, if any; it is the caller's from now on. What was asked ahead for another action is given back. */
  function keptFor(wanted: AttemptName): Kind | undefined {
    const name = attemptName(wanted)
    const one = kept.get(name)
    if (!one) return undefined
    clearTimeout(one.until)
    kept.delete(name)
    if (!isSame(one.asked, wanted)) memory.unexpect(one.asked)
    return one.kind
  }

  return {
    get kept() {
      return kept.size
    },
    keep(asked, queue) {
      const name = attemptName(asked)
      const before = kept.get(name)
      if (before ? isSame(before.asked, asked) : isRunning(name)) return
      const kind = keptFor(asked) ?? place(asked, queue)
      if (!kind) return
      memory.expect(asked)
      const until = setTimeout(() => {
        kept.delete(name)
        giveBack(kind)
        memory.unexpect(asked)
      }, KEPT)
      kept.set(name, { asked, kind, until })
    },
    take(wanted, queue) {
      const name = attemptName(wanted)
      const mine = keptFor(wanted)
      // Asked for again while it runs: it has its place.
      if (held.has(name)) {
        if (mine) giveBack(mine)
        return true
      }
      const kind = mine ?? place(wanted, queue)
      if (kind) held.set(name, kind)
      return kind !== undefined
    },
    release(wanted) {
      const name = attemptName(wanted)
      const kind = held.get(name)
      if (!kind) return
      held.delete(name)
      giveBack(kind)
    },
    took(name, ms) {
      const before = usual.get(name) ?? ms
      usual.set(name, before + NEWEST * (ms - before))
    },
    stop() {
      // Others may be waiting for their locks, and this worker lives until its attempts have ended.
      for (const { asked, until } of kept.values()) {
        clearTimeout(until)
        memory.unexpect(asked)
      }
    },
  }
}
