// How long a small batch of the recorder takes at least: what comes meanwhile is the next one.
//
// H1  A batch of one record takes MOST_PACES times the pace, of FEW_RECORDS or more (of all partitions stored together) once: what it
//     costs is for the most part the same for both, in Kafka, Postgres and here.
// H2  An execution that is in one batch after the other has its rows written again by each. Where a batch has only such ones, it takes
//     up to a quarter of the time that this has gone on for all of them, and no more than HOT_PACES times the pace: whoever waits for
//     one of them waits a quarter longer at most, and one that is new ends it.

const MOST_PACES = 3
const FEW_RECORDS = 12
const HOT_PACES = 12
const SHARE = 1 / 4
/** H2. Of batches that far apart, ms, none follows the other. */
const APART = 50

export type Pace = {
  /** ms. Of the batch that was stored just now: its executions, its records, and when its work began (ms on the clock of `now`). */
  leastOf(executions: Iterable<string>, records: number, began: number): number
}

/** `pace`: ms, 0: none. */
export function createPace(pace: number, now = () => performance.now()): Pace {
  /** Execution → when the first batch began in which it was, of those that follow each other. */
  let since = new Map<string, number>()
  /** When the batch before was over, its rest included. */
  let over = -Infinity

  return {
    leastOf(executions, records, began) {
      if (pace === 0) return 0
      const before = began - over < APART ? since : new Map<string, number>()
      since = new Map()
      for (const id of executions) since.set(id, before.get(id) ?? began)
      const least = pace * Math.max(1, MOST_PACES - ((MOST_PACES - 1) * records) / FEW_RECORDS)
      // Of no execution: records that change none.
      const newest = since.size === 0 ? began : Math.max(...since.values())
      const rest = Math.max(least, Math.min(HOT_PACES * pace, (began - newest) * SHARE))
      over = Math.max(now(), began + rest)
      return rest
    },
  }
}
