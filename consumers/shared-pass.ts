// log → [decode, once] → folds of several generations
//
// Generations of a process that have the same batch in hand go over its records together: each record is decoded once, and its
// event is gone before the next one's is made. Events that outlive their turn cost more than decoding them again.
//
// Owns: who goes along. Doesn't own: what a fold makes of an event (projector.ts).
//
// P1  Whoever has a seat is waited for, `MOST` ms at most; so a seat is given up before anything that may take long.
// P2  One that throws is out, the others go on.
// P3  A record that nobody wants is not decoded: its bytes were refused, or are not judged yet.

import type { LogRecord } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'

export type Traveller = {
  wants(record: LogRecord): boolean
  take(record: LogRecord, event: WorkflowEvent): void
  /** It is only assumed that what it wants was accepted (J8 of projector.ts): the bytes are hostile still. */
  isDoubtful?: boolean
}

/** A record's event; undefined: unreadable. */
export type EventReader = (record: LogRecord, isDoubtful?: boolean) => WorkflowEvent | undefined

export type Seat = {
  /** Resolves once it took every record that it wants and that can be read, in order; rejects with what it threw. Again: alone. */
  go(traveller: Traveller): Promise<void>
  leave(): void
}

export type SharedPasses = {
  /** A place in the pass over these records, with whoever has the same ones in hand. */
  seat(records: readonly LogRecord[]): Seat
}

/** Batches of fewer records are not worth waiting. */
const FEW = 500
/** Milliseconds. */
const MOST = 100

type Goer = { traveller: Traveller; resolve: () => void; reject: (error: unknown) => void }

class Pass {
  readonly records: readonly LogRecord[]
  readonly #read: EventReader
  readonly #seats = new Set<object>()
  #goers: Goer[] = []
  #timer: NodeJS.Timeout | undefined
  gone = false

  constructor(records: readonly LogRecord[], read: EventReader) {
    this.records = records
    this.#read = read
  }

  seat(seat: object): void {
    this.#seats.add(seat)
  }

  leave(seat: object): void {
    if (this.#seats.delete(seat)) this.#goIfAll()
  }

  go(seat: object, traveller: Traveller): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#seats.delete(seat)
      this.#goers.push({ traveller, resolve, reject })
      this.#timer ??= setTimeout(() => this.#go(), MOST)
      this.#goIfAll()
    })
  }

  #goIfAll(): void {
    if (this.#seats.size === 0 && this.#goers.length > 0) this.#go()
  }

  #go(): void {
    clearTimeout(this.#timer)
    this.gone = true
    let goers = this.#goers
    this.#goers = []
    for (const record of this.records) {
      if (goers.length === 0) return
      let event: WorkflowEvent | undefined
      for (const goer of goers) {
        const { traveller } = goer
        if (!traveller.wants(record)) continue
        event ??= this.#read(record, traveller.isDoubtful)
        if (!event) break
        try {
          traveller.take(record, event)
        } catch (error) {
          goer.reject(error)
          goers = goers.filter((one) => one !== goer)
        }
      }
    }
    for (const { resolve } of goers) resolve()
  }
}

export function createSharedPasses(read: EventReader): SharedPasses {
  /** By their first record: the batches themselves are cut anew for each reader. */
  const passes = new WeakMap<LogRecord, Pass>()

  function passOver(records: readonly LogRecord[]): Pass {
    const [first] = records
    const known = first && passes.get(first)
    if (known && !known.gone && known.records.length === records.length) return known
    const pass = new Pass(records, read)
    if (first && records.length >= FEW) passes.set(first, pass)
    return pass
  }

  return {
    seat(records) {
      const seat = {}
      let pass: Pass | undefined = passOver(records)
      pass.seat(seat)
      return {
        go(traveller) {
          const mine = pass && !pass.gone ? pass : new Pass(records, read)
          pass = undefined
          return mine.go(seat, traveller)
        },
        leave() {
          pass?.leave(seat)
          pass = undefined
        },
      }
    },
  }
}
