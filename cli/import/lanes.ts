// file → read → map → [lanes] → POST /v1/events → verdicts → summary
//
// A few requests at a time, in file order within each execution.
//
// L1  Rows of one execution go through one lane; a lane has one request in flight and sends in order.
// L2  Memory is bounded: a lane holds one batch in flight and one being filled; then `put` waits.
// L3  After a failure nothing more is sent; `put` and `finish` reject with the first failure. After `stop` neither, silently.

import { hash } from 'node:crypto'

export type LaneOptions<T> = {
  lanes: number
  /** Largest batch, in entries and in bytes. */
  entries: number
  bytes: number
  send: (this: void, batch: T[]) => Promise<void>
  /** Once it fires, nothing more is sent. */
  stop: AbortSignal
}

export type Lanes<T> = {
  /** Takes an entry of `size` bytes; resolves when there is room for the next. */
  put(execution: string, entry: T, size: number): Promise<void>
  /** Sends what is left; resolves when all is answered. */
  finish(): Promise<void>
  /** Sends nothing more; resolves when the requests in flight are answered. */
  drain(): Promise<void>
}

type Lane<T> = { batch: T[]; bytes: number; inFlight: Promise<void> }

const laneOf = (execution: string, lanes: number) => Number.parseInt(hash('md5', execution, 'hex').slice(0, 8), 16) % lanes

export function createLanes<T>({ lanes: count, entries, bytes, send, stop }: LaneOptions<T>): Lanes<T> {
  const lanes: Lane<T>[] = Array.from({ length: count }, () => ({ batch: [], bytes: 0, inFlight: Promise.resolve() }))
  let failure: { error: unknown } | undefined

  const check = () => {
    if (failure) throw failure.error
  }

  /** Waits for the lane's request, then sends its batch. */
  const flush = async (lane: Lane<T>) => {
    await lane.inFlight
    check()
    const { batch } = lane
    if (batch.length === 0 || stop.aborted) return
    lane.batch = []
    lane.bytes = 0
    lane.inFlight = send(batch).catch((error: unknown) => {
      failure ??= { error }
    })
  }

  const drain = async () => {
    await Promise.all(lanes.map((lane) => lane.inFlight))
    check()
  }

  return {
    async put(execution, entry, size) {
      check()
      const lane = lanes[laneOf(execution, count)]!
      if (lane.batch.length > 0 && lane.bytes + size > bytes) await flush(lane)
      lane.batch.push(entry)
      lane.bytes += size
      if (lane.batch.length >= entries) await flush(lane)
    },
    async finish() {
      await Promise.all(lanes.map(flush))
      await drain()
    },
    drain,
  }
}
