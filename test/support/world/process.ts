// A process that can die between any two steps: whatever it asks of the world goes through its ports, and once it is dead it never
// hears an answer again, nor does what it asks for happen.

/** Whether the process dies here; `place` is `<port>.<method> before|after`, or a fault point. */
export type Dies = (place: string) => boolean

const never = new Promise<never>(() => undefined)

export class MortalProcess {
  dead = false
  readonly #dies: Dies
  readonly #died: () => void

  constructor(dies: Dies, died: () => void) {
    this.#dies = dies
    this.#died = died
  }

  die(): void {
    if (this.dead) return
    this.dead = true
    this.#died()
  }

  /** Whether it is dead, or dies now. */
  #ends(place: string): boolean {
    if (!this.dead && this.#dies(place)) this.die()
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

  /** The same object, each method that answers with a promise gone through `call`. */
  port<T extends object>(name: string, of: T): T {
    return new Proxy(of, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          if (this.dead) return never
          let answer: unknown
          const asked = this.call(`${name}.${String(key)}`, () => {
            answer = Reflect.apply(value, target, args)
            return Promise.resolve(answer)
          })
          return answer instanceof Promise || this.dead ? asked : answer
        }
      },
    })
  }

  /** Named fault points (faults.ts) are places to die at, too. */
  readonly faults = { at: (point: string): Promise<void> | undefined => (this.#ends(point) ? never : undefined) }
}
