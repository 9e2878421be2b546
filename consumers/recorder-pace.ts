// How long a small batch of the recorder takes at least: what comes meanwhile is the next one.
//
// H1  A batch of one record takes MOST_PACES times the pace, of FEW_RECORDS or more (of all partitions stored together) once: what it
//     costs is for the most part the same for both, in Kafka, Postgres and here. But of FEW_RECORDS no longer than its work took, of
//     half as many twice as long, and so on: where the work is quick there is little to save, and the rest would be most of what a
//     reader waits for.
// H2  An execution that is in one batch after the other has its rows written again by each. Where a batch has only such as were in the
//     one before, it takes up to a quarter of the time since one had another, and no more than HOT_PACES times the pace or HOT_MOST.
//     So who comes again and again beside them waits for a quarter of the time since they came last, at most.
// H3  Whoever appends the next record when the one before is stored would have it stored later, and nobody would gain: a batch takes by
//     H2 no more than GROWTH times the time over which the records of each of its executions were appended.
// H4  Records that wait already are not kept waiting: H2 is of batches that go to the end of their partitions.

const MOST_PACES = 3
const FEW_RECORDS = 12
const HOT_PACES = 12
/** H2, ms. A process that stops waits for it. */
const HOT_MOST = 500
const SHARE = 1 / 4
const GROWTH = 2
/** H2. Of batches that far apart, ms, none follows the other. */
const APART = 50

/** A record: of which execution (one of none is its own), and when it was appended, ms on the broker's clock. */
export type Paced = { execution: string; appendedAt: number }

export type Pace = {
  /** ms. Of the batch that was stored just now, and when its work began (ms on the clock of `now`). `isBehind`: more records wait. */
  leastOf(records: readonly Paced[], began: number, isBehind: boolean): number
}

/** `pace`: ms, 0: none. */
export function createPace(pace: number, now = () => performance.now()): Pace {
  /** The executions of the batch before. */
  let before: ReadonlySet<string> = new Set()
  /** When the newest batch began that had one which was not in the one before. */
  let since = 0
  /** When the batch before was over, its rest included. */
  let over = -Infinity

  return {
    leastOf(records, began, isBehind) {
      if (pace === 0) return 0
      const own = Map.groupBy(records, ({ execution }) => execution)
      const executions = new Set(own.keys())
      if (records.length === 0 || began - over >= APART || !executions.isSubsetOf(before)) since = began
      before = executions
      const few = Math.min(records.length / FEW_RECORDS, 1)
      const least = Math.min(pace * (MOST_PACES - (MOST_PACES - 1) * few), (now() - began) / few)
      const hot = isBehind ? 0 : Math.min(HOT_PACES * pace, HOT_MOST, (began - since) * SHARE, GROWTH * quickest(own.values()))
      const rest = Math.max(least, hot)
      over = Math.max(now(), began + rest)
      return rest
    },
  }
}

/** Of the executions the one whose records were appended over the shortest time: how long that is, ms. */
const quickest = (executions: IteratorObject<readonly Paced[]>): number =>
  executions.reduce((least, own) => Math.min(least, (own.at(-1)?.appendedAt ?? 0) - (own[0]?.appendedAt ?? 0)), Infinity)
