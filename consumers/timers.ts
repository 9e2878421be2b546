// accepted timer.started → [wait] → timer.fired → log
//
// Timers of the partitions this process reads, on the broker's time. Firing is an append: whoever else fires the same timer
// appends a duplicate. A timer stays armed until its end was read, and is fired again meanwhile.

export type Timer = { partition: number; tenant: string; executionId: string; timer: number; /** ms */ fireAt: number }

export type Timers = {
  /** Arms a timer, `later` ms after its time (for one that another deployment should fire first). */
  arm(timer: Timer, later?: number): void
  /** It has fired or was cancelled. */
  disarm(timer: Pick<Timer, 'tenant' | 'executionId' | 'timer'>): void
  /** Its fired event was appended at `appendedAt`: over, unless that was too early. */
  seen(timer: Pick<Timer, 'tenant' | 'executionId' | 'timer'>, appendedAt: number): void
  /** The log found it too early: again soon. */
  early(timer: Pick<Timer, 'tenant' | 'executionId' | 'timer'>): void
  dropPartition(partition: number): void
  readonly size: number
  close(): void
}

export type TimersOptions = {
  /** The broker's time now, ms since 1970 UTC. */
  now: () => number
  fire: (timer: Timer) => void
}

/** A fired timer whose end was not read is fired again, ms. */
const AGAIN = 5000
const EARLY_AGAIN = 20
const LONGEST_SLEEP = 60_000

const nameOf = ({ tenant, executionId, timer }: Pick<Timer, 'tenant' | 'executionId' | 'timer'>) => `${tenant}\n${executionId}\n${timer}`

type Armed = Timer & { name: string; due: number; dead: boolean }

/** A binary heap by `due`; what was disarmed stays in it, dead, until it is at the top. */
class Heap {
  readonly #all: Armed[] = []

  get top(): Armed | undefined {
    while (this.#all[0]?.dead === true) this.pop()
    return this.#all[0]
  }

  push(one: Armed): void {
    const all = this.#all
    let at = all.push(one) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (all[parent]!.due <= one.due) break
      all[at] = all[parent]!
      at = parent
    }
    all[at] = one
  }

  pop(): Armed | undefined {
    const all = this.#all
    const first = all[0]
    const last = all.pop()
    if (!first || !last || all.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= all.length) break
      if (child + 1 < all.length && all[child + 1]!.due < all[child]!.due) child++
      if (all[child]!.due >= last.due) break
      all[at] = all[child]!
      at = child
    }
    all[at] = last
    return first
  }
}

export function createTimers({ now, fire }: TimersOptions): Timers {
  const armed = new Map<string, Armed>()
  const heap = new Heap()
  let sleeping: NodeJS.Timeout | undefined
  let wakesAt = Infinity

  function put(timer: Timer, name: string, due: number): void {
    const known = armed.get(name)
    if (known) known.dead = true
    const one: Armed = { ...timer, name, due, dead: false }
    armed.set(name, one)
    heap.push(one)
    if (due < wakesAt) sleep()
  }

  function sleep(): void {
    clearTimeout(sleeping)
    const next = heap.top
    wakesAt = next?.due ?? Infinity
    if (!next) return
    // A millisecond more: Node's timers may be early by a fraction.
    sleeping = setTimeout(wake, Math.min(LONGEST_SLEEP, Math.max(1, Math.ceil(next.due - now()) + 1)))
    sleeping.unref()
  }

  function wake(): void {
    for (let next = heap.top; next && next.due <= now(); next = heap.top) {
      heap.pop()
      put(next, next.name, now() + AGAIN)
      fire(next)
    }
    sleep()
  }

  const timers: Timers = {
    arm(timer, later = 0) {
      const name = nameOf(timer)
      if (!armed.has(name)) put(timer, name, timer.fireAt + later)
    },
    disarm(timer) {
      const name = nameOf(timer)
      const known = armed.get(name)
      if (known) known.dead = true
      armed.delete(name)
    },
    seen(timer, appendedAt) {
      const known = armed.get(nameOf(timer))
      if (known && appendedAt >= known.fireAt) timers.disarm(timer)
      else timers.early(timer)
    },
    early(timer) {
      const known = armed.get(nameOf(timer))
      if (known) put(known, known.name, Math.max(known.fireAt, now() + EARLY_AGAIN))
    },
    dropPartition(partition) {
      for (const one of armed.values())
        if (one.partition === partition) {
          one.dead = true
          armed.delete(one.name)
        }
    },
    get size() {
      return armed.size
    },
    close() {
      clearTimeout(sleeping)
      armed.clear()
    },
  }
  return timers
}
