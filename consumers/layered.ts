// A map and what a batch sets in it. The map itself changes only when the batch is settled: one that is thrown away, or folded a
// second time, leaves it as it was. So a batch costs what it changes, and not what its executions have become.

export class Layered<K, V extends {}> {
  readonly #under: Map<K, V>
  readonly #over = new Map<K, V>()

  /** Nobody else may set anything in `under`. */
  constructor(under: Map<K, V> = new Map()) {
    this.#under = under
  }

  get(key: K): V | undefined {
    return this.#over.get(key) ?? this.#under.get(key)
  }

  set(key: K, value: V): void {
    this.#over.set(key, value)
  }

  *values(): Generator<V> {
    for (const [key, value] of this.#under) yield this.#over.get(key) ?? value
    for (const [key, value] of this.#over) if (!this.#under.has(key)) yield value
  }

  /** What was set since. */
  changes(): ReadonlyMap<K, V> {
    return this.#over
  }

  /** Puts what was set into the map, and answers it. */
  settle(): Map<K, V> {
    for (const [key, value] of this.#over) this.#under.set(key, value)
    this.#over.clear()
    return this.#under
  }
}
