// How far the recorder is: waits for positions, and the headers that say how new an answer is.
//
// W1  One poll serves all who wait; nobody waiting, nobody polls.
// W2  A wait that fails to read the checkpoints rejects with that error: a database that is away is not "not yet".

import type { FastifyReply } from 'fastify'
import { RefoldError } from '../errors.ts'
import type { Checkpoints } from '../postgres/reads/checkpoints.ts'
import { formatPositions } from '../workflow/position.ts'

export type Gap = { partition: number; asked: number; checkpoint: number; behind: number }

export type Watermarks = {
  /** Resolves when each position (partition → offset) is recorded, or after `ms` with what lacks: [] = all are there. */
  wait(positions: Checkpoints, ms: number): Promise<Gap[]>
  /** Sets Refold-Watermark and Refold-Lag of an answer that read at `checkpoints`. */
  mark(reply: FastifyReply, checkpoints: Checkpoints): void
  /** `request-invalid` where one of these, given as `name`, is beyond the log's end: it is of another log. Read at `checkpoints`. */
  requireInLog(name: string, positions: Checkpoints, checkpoints: Checkpoints): Promise<void>
  /** Ends all waits with what is known, and every later one at once. */
  close(): void
}

export type WatermarkOptions = {
  checkpoints: () => Promise<Checkpoints>
  /** Partition → one past the newest record. */
  logEnds: () => Promise<Checkpoints>
  /** Between two polls, ms. */
  pollEvery?: number
}

/** With more partitions than this the header is left out: clients refuse long ones. */
const MOST_LISTED = 200

/** Age, in ms, at which the log's ends are asked for again. */
const ENDS_FRESH = 1000

type Waiter = { positions: Checkpoints; until: number; resolve: (gaps: Gap[]) => void; reject: (error: unknown) => void }

function gapsOf(positions: Checkpoints, checkpoints: Checkpoints): Gap[] {
  const gaps: Gap[] = []
  for (const [partition, asked] of positions) {
    const checkpoint = checkpoints.get(partition) ?? 0
    if (checkpoint <= asked) gaps.push({ partition, asked, checkpoint, behind: asked + 1 - checkpoint })
  }
  return gaps
}

export function createWatermarks({ checkpoints, logEnds, pollEvery = 25 }: WatermarkOptions): Watermarks {
  const waiters = new Set<Waiter>()
  let polling = false
  let closed = false
  let ends: { known: Checkpoints; at: number } = { known: new Map(), at: -Infinity }
  let asking = false

  /** Settles who need not wait longer. */
  function serve(now: Checkpoints): void {
    for (const waiter of waiters) {
      const gaps = gapsOf(waiter.positions, now)
      if (gaps.length > 0 && performance.now() < waiter.until && !closed) continue
      waiters.delete(waiter)
      waiter.resolve(gaps)
    }
  }

  async function poll(): Promise<void> {
    polling = true
    while (waiters.size > 0) {
      try {
        serve(await checkpoints())
      } catch (error) {
        for (const waiter of waiters) waiter.reject(error)
        waiters.clear()
      }
      if (waiters.size > 0) await new Promise((resolve) => setTimeout(resolve, pollEvery))
    }
    polling = false
  }

  /** Never waited for: an answer tells the lag by the ends known so far. While the log is away, the lag is not known. */
  async function refreshEnds(): Promise<void> {
    if (asking || performance.now() - ends.at < ENDS_FRESH) return
    asking = true
    const known = await logEnds().catch(() => new Map<number, number>())
    ends = { known, at: performance.now() }
    asking = false
  }

  void refreshEnds() // so that the first answer tells its lag too
  return {
    wait: (positions, ms) =>
      new Promise((resolve, reject) => {
        waiters.add({ positions, until: performance.now() + ms, resolve, reject })
        if (!polling) void poll()
      }),
    mark(reply, read) {
      void refreshEnds()
      if (read.size > 0 && read.size <= MOST_LISTED) void reply.header('refold-watermark', formatPositions(read))
      if (read.size === 0 || [...read.keys()].some((partition) => !ends.known.has(partition))) return
      let lag = 0
      for (const [partition, checkpoint] of read) lag += Math.max(0, (ends.known.get(partition) ?? 0) - checkpoint)
      void reply.header('refold-lag', lag)
    },
    async requireInLog(name, positions, read) {
      const unrecorded = gapsOf(positions, read)
      if (unrecorded.length === 0) return
      // While the log is away nothing is known of it, and nothing refused.
      const known = await logEnds().catch(() => new Map<number, number>())
      for (const { partition, asked } of unrecorded) {
        const end = known.get(partition) ?? Infinity
        if (asked < end) continue
        const detail = `p${partition}:${asked} is beyond the log, which ends before p${partition}:${end}; is it of another log?`
        throw new RefoldError('request-invalid', `${name}: ${detail}`)
      }
    },
    close() {
      closed = true
    },
  }
}
