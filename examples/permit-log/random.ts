// Chance that can be repeated: the same seed gives the same numbers on every machine.

export type Random = ReturnType<typeof createRandom>

/** mulberry32: 32 bits of state, enough to invent data, no good for secrets. */
export function createRandom(seed: number) {
  let state = seed >>> 0

  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)

  return {
    /** In [0, 1). */
    next,
    /** Whole, in [0, limit). */
    below,
    /** In [low, high). */
    between: (low: number, high: number) => low + next() * (high - low),
    chance: (probability: number) => next() < probability,
    /** Standard normal, nearly: the sum of twelve. */
    normal: () => Array.from({ length: 12 }, next).reduce((sum, one) => sum + one, -6),
    /** One of the keys, as often as its weight says. */
    weighted(weights: Readonly<Record<string, number>>): string {
      const keys = Object.keys(weights)
      let left = next() * Object.values(weights).reduce((sum, weight) => sum + weight, 0)
      return keys.find((key) => (left -= weights[key]!) < 0) ?? keys.at(-1)!
    },
    shuffled<T>(items: readonly T[]): T[] {
      const mixed = [...items]
      for (let i = mixed.length - 1; i > 0; i--) {
        const j = below(i + 1)
        const held = mixed[i]!
        mixed[i] = mixed[j]!
        mixed[j] = held
      }
      return mixed
    },
  }
}
