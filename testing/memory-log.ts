// The log in memory: partitions, offsets, keys, consumer groups with eager rebalances, a clock that is set by hand. Holds the
// same contract suite as Kafka's (test/contracts/log.ts). For fast tests, ours and those of workflow authors.

import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { RefoldError, asError } from '../errors.ts'
import type {
  Appended,
  GroupOffset,
  Log,
  LogAppend,
  LogReader,
  LogRecord,
  PartitionBounds,
  ReaderHealth,
  ReaderOptions,
} from '../kafka/log.ts'

export type MemoryLogOptions = {
  /** Milliseconds since 1970 UTC at which the clock stands in the beginning. Default: 2026-01-01. */
  now?: number
  /** Milliseconds that a reader rests after a failure. */
  rest?: number
}

/** A log in memory, with what a test needs beside the port. */
export type MemoryLog = Log & {
  /** The append time of the next record. */
  now(): number
  /** Moves the clock on; it never goes back. */
  advance(milliseconds: number): void
  /** Everything a topic holds, by partition and offset; control records are not shown. */
  records(topic: string): LogRecord[]
  /** Appends as a foreign producer does inside a transaction. Returns its end, which is a control record, committed or aborted. */
  appendTransaction(records: readonly LogAppend[]): () => void
  /** Drops a partition's records below `offset`. */
  cut(topic: string, partition: number, offset: number): void
  /** Sets a group's offset, as a person with Kafka's tool does. */
  setGroupOffset(group: string, topic: string, partition: number, offset: number, metadata?: string): void
}

/** Largest record, as on Kafka. */
const RECORD_BYTES = 1_000_000
const MAX_RECORDS = 5000
const YEAR_2026 = Date.UTC(2026, 0, 1)

class MemoryPartition {
  low = 0
  high = 0
  records: LogRecord[] = []
  #changed = Promise.withResolvers<void>()

  add(record: LogRecord): void {
    this.records.push(record)
    this.grow()
  }

  /** One more offset; a control record has one too. */
  grow(): void {
    this.high++
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  /** Resolves when a record comes after `offset`, or at once when one is there. */
  async after(offset: number, stop: AbortSignal): Promise<void> {
    if (this.high > offset || stop.aborted) return
    const aborted = Promise.withResolvers<void>()
    const onAbort = () => aborted.resolve()
    stop.addEventListener('abort', onAbort, { once: true })
    await Promise.race([this.#changed.promise, aborted.promise])
    stop.removeEventListener('abort', onAbort)
  }
}

type Group = { members: Member[]; offsets: Map<string, { offset: number; metadata: string }> }

/** A reader as its group sees it. `assign` replaces all partitions, and tells nobody beforehand: eager, as on Kafka. */
type Member = { assign(partitions: readonly number[]): void }

export function createMemoryLog({ now: begin = YEAR_2026, rest = 5 }: MemoryLogOptions = {}): MemoryLog {
  const topics = new Map<string, MemoryPartition[]>()
  const groups = new Map<string, Group>()
  const readers = new Set<LogReader>()
  let clock = begin
  let closed = false

  function partitionsOf(topic: string): MemoryPartition[] {
    const partitions = topics.get(topic)
    if (!partitions) throw new RefoldError('log-topic-missing', topic)
    return partitions
  }

  function partitionOf(topic: string, partition: number): MemoryPartition {
    const partitions = partitionsOf(topic)
    const found = partitions[partition]
    if (!found) throw new RefoldError('log-topic-missing', `${topic} has ${partitions.length} partitions, none with number ${partition}`)
    return found
  }

  function groupOf(name: string, topic: string): Group {
    const key = `${name}\n${topic}`
    const group = groups.get(key) ?? { members: [], offsets: new Map() }
    groups.set(key, group)
    return group
  }

  function write(record: LogAppend, transactional: boolean): Appended {
    const { topic, partition, key, value, headers = {} } = record
    const bytes = Buffer.byteLength(key) + value.byteLength
    if (bytes > RECORD_BYTES) throw new RefoldError('log-append-too-large', `${bytes} bytes for ${topic} p${partition}, key ${key}`)
    const to = partitionOf(topic, partition)
    const offset = to.high
    to.add({
      partition,
      offset,
      key: Buffer.from(key),
      value: Uint8Array.from(value), // a copy: the caller may use its buffer again
      appendedAt: clock,
      transactional,
      headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
    })
    return { partition, offset, appendedAt: clock }
  }

  async function append(record: LogAppend): Promise<Appended> {
    if (closed) throw new RefoldError('log-closed', `append to ${record.topic}`)
    const appended = write(record, false)
    await turn() // as an answer from outside: whoever appends in a loop lets others work
    return appended
  }

  function reader(options: ReaderOptions): LogReader {
    const made = createMemoryReader(options, {
      rest,
      partition: (number) => partitionOf(options.topic, number),
      join(member) {
        const { length } = partitionsOf(options.topic)
        const group = groupOf(options.group, options.topic)
        group.members.push(member)
        share(group, length)
        return () => {
          group.members.splice(group.members.indexOf(member), 1)
          share(group, length)
        }
      },
      mirror(partition, offset) {
        const { reader: name, generation } = options.mirror
        groupOf(options.group, options.topic).offsets.set(String(partition), {
          offset,
          metadata: `refold:${name}:g${generation}:${offset}`,
        })
      },
    })
    readers.add(made)
    return made
  }

  return {
    append,
    reader,
    async ensureTopic({ name, partitions }) {
      const found = topics.get(name) ?? Array.from({ length: partitions }, () => new MemoryPartition())
      topics.set(name, found)
      return found.length
    },
    async bounds(topic): Promise<PartitionBounds[]> {
      return partitionsOf(topic).map(({ low, high }, partition) => ({ partition, low, high }))
    },
    async groupOffsets(group, topic): Promise<GroupOffset[]> {
      const { offsets } = groupOf(group, topic)
      return partitionsOf(topic).map((_, partition) => ({ partition, offset: null, metadata: '', ...offsets.get(String(partition)) }))
    },
    async groups() {
      const used = [...groups].filter(([, { members, offsets }]) => members.length > 0 || offsets.size > 0)
      return new Set(used.map(([key]) => key.slice(0, key.indexOf('\n'))))
    },
    async dropGroup(name) {
      const all = [...groups].filter(([key]) => key.startsWith(`${name}\n`))
      if (all.some(([, { members }]) => members.length > 0)) return false
      for (const [key] of all) groups.delete(key)
      return true
    },
    async close() {
      closed = true
      await Promise.all([...readers].map((each) => each.stop()))
    },
    now: () => clock,
    advance(milliseconds) {
      clock += Math.max(0, milliseconds)
    },
    records: (topic) => partitionsOf(topic).flatMap(({ records }) => records),
    appendTransaction(records) {
      for (const record of records) write(record, true)
      const touched = new Set(records.map(({ topic, partition }) => partitionOf(topic, partition)))
      return () => {
        for (const partition of touched) partition.grow()
      }
    },
    cut(topic, number, offset) {
      const partition = partitionOf(topic, number)
      partition.low = Math.min(Math.max(partition.low, offset), partition.high)
      partition.records = partition.records.filter((record) => record.offset >= partition.low)
    },
    setGroupOffset: (group, topic, partition, offset, metadata = '') =>
      void groupOf(group, topic).offsets.set(String(partition), { offset, metadata }),
  }
}

function share({ members }: Group, partitions: number): void {
  const all = Array.from({ length: partitions }, (_, partition) => partition)
  for (const [i, member] of members.entries()) member.assign(all.filter((partition) => partition % members.length === i))
}

type ReaderPorts = {
  rest: number
  partition(number: number): MemoryPartition
  /** Joins the group; returns how to leave it. */
  join(member: Member): () => void
  mirror(partition: number, offset: number): void
}

type Place = { next: number; replaced: boolean; stop: AbortController; done: Promise<void> }

function createMemoryReader({ topic, handler, maxRecords = MAX_RECORDS }: ReaderOptions, ports: ReaderPorts): LogReader {
  let places = new Map<number, Place>()
  let leave: (() => void) | undefined
  let lastError: string | undefined
  const leaving = new Set<Promise<void>>()

  const member: Member = {
    assign(partitions) {
      for (const { stop, done } of places.values()) {
        stop.abort()
        leaving.add(done)
        void done.finally(() => leaving.delete(done))
      }
      places = new Map(partitions.map((partition) => [partition, follow(partition)]))
    },
  }

  function follow(partition: number): Place {
    const stop = new AbortController()
    const place: Place = { next: 0, replaced: false, stop, done: Promise.resolve() }
    place.done = read(partition, place)
    return place
  }

  async function read(partition: number, place: Place): Promise<void> {
    const { signal } = place.stop
    let placed = false
    while (!signal.aborted) {
      try {
        if (!placed) {
          place.next = await position(partition, place)
          ports.mirror(partition, place.next)
        }
        placed = true
        await ports.partition(partition).after(place.next, signal)
        if (signal.aborted) return
        placed = await handOn(partition, place)
      } catch (error) {
        placed = false
        lastError = asError(error).message
        await pause(ports.rest, undefined, { signal }).catch(() => undefined)
      }
    }
  }

  async function position(partition: number, place: Place): Promise<number> {
    const next = await handler.checkpoint(partition)
    const { low, high } = ports.partition(partition)
    place.replaced = next < low || next > high
    if (place.replaced) throw new RefoldError('log-replaced', `p${partition} goes from ${low} to ${high}, the checkpoint is ${next}`)
    const witness = await handler.witness?.(partition)
    const seen = witness && ports.partition(partition).records.find(({ offset }) => offset === witness.offset)
    place.replaced = witness !== undefined && witness.offset >= low && witness.offset < next && (!seen || !witness.isSame(seen))
    if (place.replaced)
      throw new RefoldError('log-replaced', `the record at p${partition}:${witness?.offset} is not the one that was read there before`)
    return next
  }

  // Answers whether the place is still known: not when the log was cut above it.
  async function handOn(partition: number, place: Place): Promise<boolean> {
    const { low, high, records } = ports.partition(partition)
    const from = place.next
    if (from < low) return false
    const first = lowerBound(records, from)
    const waiting = records.slice(first, first + maxRecords + 1)
    const next = waiting[maxRecords]?.offset ?? high
    const stored = await handler.batch({ topic, partition, from, next, records: waiting.slice(0, maxRecords), highWatermark: high })
    if (place.stop.signal.aborted) return false
    ports.mirror(partition, stored)
    place.next = stored
    return stored >= low && stored <= high
  }

  function health(): ReaderHealth {
    const partitions = new Map([...places].map(([number, { next }]) => [number, { next, highWatermark: ports.partition(number).high }]))
    const replaced = [...places.values()].some((place) => place.replaced)
    const state = leave ? (replaced ? 'failed' : 'running') : 'stopped'
    return { state, partitions, ...(lastError === undefined ? {} : { lastError }) }
  }

  return {
    async start() {
      leave ??= ports.join(member)
    },
    async stop() {
      leave?.()
      leave = undefined
      member.assign([])
      await Promise.all(leaving)
    },
    health,
  }
}

/** Index of the first record at `offset` or above. */
function lowerBound(records: readonly LogRecord[], offset: number): number {
  let from = 0
  let to = records.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if (records[middle]!.offset < offset) from = middle + 1
    else to = middle
  }
  return from
}
