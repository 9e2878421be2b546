// A process that can die between any two steps: whatever it asks of the world goes through its ports, and once it is dead it never
// hears an answer again, nor does what it asks for happen.

import { createOwnEvents } from '../../../consumers/own-events.ts'
import { createRecordedEvents } from '../../../consumers/recorded-events.ts'

/** `place` is `<port>.<method> before|after`, or a fault point. */
export type Fate = {
  /** Whether the process dies here. */
  dies(place: string): boolean
  /** Whether what is elsewhere cannot be reached here: before, so that nothing was done, or after, so that the answer is lost. */
  fails(place: string): boolean
}

const never = new Promise<never>(() => undefined)

export class MortalProcess {
  dead = false
  /** What it appended, for a recorder that runs in it. */
  readonly own = createOwnEvents()
  readonly recorded = createRecordedEvents()
  readonly #fate: Fate
  readonly #died: () => void
  /** Records in a batch of its readers: of those that follow the same log, and are behind, the batches are the same. */
  readonly most: number

  constructor(fate: Fate, most: number, died: () => void) {
    this.most = most
    this.#fate = fate
    this.#died = died
  }

  die(): void {
    if (this.dead) return
    this.dead = true
    this.#died()
  }

  /** Whether it is dead, or dies now. */
  #ends(place: string): boolean {
    if (!this.dead && this.#fate.dies(place)) this.die()
    return this.dead
  }

  /** `work` begins in the same turn: the order of two calls stays. */
  call<T>(port: string, work: () => Promise<T>): Promise<T> {
    if (this.#ends(`${port} before`)) return never
    return work().then(
      (answer) => (this.#ends(`${port} after`) ? never : answer),
      (error: unknown) => (this.dead ? never : Promise.reject(error as Error)),
    )
  }

  /** What is asked of another process, which may not be reached. */
  async #remote<T>(port: string, work: () => Promise<T>): Promise<T> {
    if (this.#fate.fails(`${port} before`)) throw new Error('not reached')
    const answer = await work()
    if (this.#fate.fails(`${port} after`)) throw new Error('done, and not told')
    return answer
  }

  remote<T>(port: string, work: () => Promise<T>): Promise<T> {
    return this.call(port, () => this.#remote(port, work))
  }

  /** In the middle of what another process does for it: rejects where that is undone, since one of the two dies. */
  async midway(port: string): Promise<void> {
    if (this.#ends(`${port} midway`) || this.#fate.fails(`${port} midway`)) throw new Error('undone')
  }

  /** The same object, each method that answers with a promise gone through `call`, or `remote` where it is that of another process. */
  port<T extends object>(name: string, of: T, where: 'call' | 'remote' = 'remote'): T {
    return new Proxy(of, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          if (this.dead) return never
          let answer: unknown
          const asked = this[where](`${name}.${String(key)}`, () => {
            answer = Reflect.apply(value, target, args)
            return Promise.resolve(answer)
          })
          // Of a method that does not answer, nobody takes the failure.
          asked.catch(() => undefined)
          return asked
        }
      },
    })
  }

  /** Named fault points (faults.ts) are places to die at, too. */
  readonly faults = { at: (point: string): Promise<void> | undefined => (this.#ends(point) ? never : undefined) }
}
