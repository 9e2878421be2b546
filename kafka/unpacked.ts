// Bytes that a decoder has unpacked so far, up to a limit: what snappy and lz4 have in common.

/** A batch holds more than a reader takes. */
export class TooLarge extends Error {}

/** Packed bytes that no encoder wrote. */
export class Malformed extends Error {}

const FIRST = 64 * 1024

export class Unpacked {
  readonly #limit: number
  #bytes: Buffer
  #length = 0

  constructor(limit: number) {
    this.#limit = limit
    this.#bytes = Buffer.allocUnsafe(Math.min(limit, FIRST))
  }

  get length(): number {
    return this.#length
  }

  /** Makes room for `more` bytes; TooLarge beyond the limit, before anything is taken. */
  reserve(more: number): void {
    const needed = this.#length + more
    if (needed > this.#limit) throw new TooLarge(`unpacks to more than ${this.#limit} bytes`)
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.min(this.#limit, Math.max(needed, this.#bytes.length * 2)))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }

  /** Bytes as they are in `from`. */
  literal(from: Uint8Array, start: number, length: number): void {
    if (start + length > from.length) throw new Malformed('a literal ends beyond the packed bytes')
    this.reserve(length)
    this.#bytes.set(from.subarray(start, start + length), this.#length)
    this.#length += length
  }

  /** Bytes again that are `back` before the end; they may reach into themselves, which repeats them. */
  repeat(back: number, length: number, floor = 0): void {
    if (back === 0 || back > this.#length - floor) throw new Malformed('a copy begins before the first byte')
    this.reserve(length)
    const bytes = this.#bytes
    const at = this.#length
    if (back >= length) bytes.copyWithin(at, at - back, at - back + length)
    else for (let i = 0; i < length; i++) bytes[at + i] = bytes[at + i - back] ?? 0
    this.#length += length
  }

  taken(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }
}
