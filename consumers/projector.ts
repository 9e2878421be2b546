// produce → log → accept → recorder → [projector] → rows → SQL, REST
//
// One generation of one projection. Owns: which records count, folding a batch in memory, trying again, being passed over by
// a person. Doesn't own: SQL (postgres/projection-store.ts), which generations there are (roles/projector.ts).
//
// J1  Never past the recorder's checkpoint: what counts is what it accepted; what it refused is skipped.
// J2  The checkpoint moves first, by compare-and-set, in the transaction of the rows: two projectors on one partition cost
//     work, never truth.
// J3  A hold (stop_at) is not passed, and ends by itself.
// J4  What `evolve` throws at, or makes a row of that its columns don't take, is tried again, then an incident; the generation
//     stands at that position, others go on. A position that a person let another generation pass is passed here too, and no
//     incident.
// J5  Below the log's first offset the audit is read instead: nothing is ever skipped.
// J6  Small batches of several partitions share a transaction: each moves its own checkpoint, and one that was overtaken or held
//     is left out. Should the transaction fail, each has one of its own. A handler's are never shared.
// J7  Rows of a fold are read and folded before anything is written: whoever writes a partition's rows moves its checkpoint, so
//     if it is still at `from` when it is moved, what was read is as it was. Small batches are one statement then. Where `evolve`
//     throws, or its rows are refused though it was only assumed (J8) that they are wanted, it is done again behind the moved checkpoint: only
//     there is the batch surely ours to park.
// J8  A small batch that the recorder is said to have passed is assumed to be accepted as a whole: the statement that moves the
//     checkpoint sees whether it was. Where it was not, the database is asked first, as for any other batch.
// J9  A small batch that the recorder of this process is storing is folded and written at the same time: its statement waits, as the last
//     thing it does, for the recorder's transaction, and sees then what J8 asks. Nothing is committed before.

import { setTimeout as pause } from 'node:timers/promises'
import { createCombiner, createNextTurn } from '../combine.ts'
import { RefoldError } from '../errors.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import type { LogBatch, LogHandler } from '../kafka/log.ts'
import type { FoldProjection, Projection } from '../projections/define.ts'
import { ProjectionEvent } from '../projections/event.ts'
import { RowsRefused } from '../projections/refused.ts'
import type { Watch } from '../watch.ts'
import type { BackOff } from './back-off.ts'
import type {
  Change,
  FoldsFirst,
  Move,
  Outcome,
  ProjectionStore,
  ProjectionWork,
  RecordedNews,
  RowKey,
  Span,
  Window,
} from './projection-port.ts'
import { applyFold, type Feed, handle, type Memory, memoryFrom, Thrown, trim } from './projector-memory.ts'
import type { AcceptedRecords } from './reader-schemas.ts'
import { createSharedPasses, type Seat, type SharedPasses } from './shared-pass.ts'

export type ProjectorOptions = {
  projection: Projection
  generation: number
  store: ProjectionStore
  schemas: AcceptedRecords
  /** First offset that the log still holds. */
  low: (partition: number) => Promise<number>
  watch: Watch
  faults: Faults
  /** What this process's generations share; absent: it goes over its records alone. */
  passes?: SharedPasses
  /** Rows kept in memory of each partition, so that they need not be read back. */
  remembered: number
  /** Tells when the recorder moved; without it, it is asked now and then. */
  news?: RecordedNews
  /** Waits, not for ever, while live traffic needs the machine, before so many records are folded; for a generation that is built. */
  yields?: BackOff
}

const POLL = { first: 5, most: 100 }
/** A batch waits so long for the recorder, or for a hold to end; then it is asked for again. */
const LONGEST_WAIT = 10_000
/** Tries of a batch that throws, and the wait before each, ms. */
const TRIES = [100, 500, 2000]
const AUDIT_PAGE = 5000
const NONE: ReadonlySet<number> = new Set()

/** Batches of at most so many records share a transaction. */
const SMALL = 500

/** J9. After one that was in vain the next try is so much later, ms. */
const IN_VAIN = 1000

/** How far a batch may go, without what; J8, J9. */
type Allowed = { to: number; refused: Window['refused']; assumed?: boolean; lock?: number }

/** Gives the accepted events of a batch below an offset, in order; made anew at each call, so that none is kept. */
type Events = (before: number, take: (event: ProjectionEvent) => void) => Promise<void>

type Job = Move & { events: Events; count: number; memory?: Memory }

type Stored = { outcome: Outcome; next: number; events: number }

export function createProjector(options: ProjectorOptions): LogHandler & { forget(): void } {
  const { projection, generation, store, schemas, watch, faults, passes = createSharedPasses(schemas.read) } = options
  const memories = new Map<number, Memory>()
  const parked = new Set<number>()
  /** Positions that a person let pass; looked up anew after each failure. */
  const skips = new Map<number, ReadonlySet<number>>()

  const windowOf = createCombiner(store.windows, () => undefined)

  /** J9. Not before this, on the clock of performance.now(). */
  let aheadFrom = 0

  /** J9. The lock of the transaction that stores a batch; undefined: none is, or it is not written at the same time. */
  function lockOf(span: Span): number | undefined {
    // The audit is not written yet.
    const may = store.foldsFirst && faults === NO_FAULTS && span.next - span.from <= SMALL && !projection.uses.includes('audit')
    return may && !parked.has(span.partition) && performance.now() >= aheadFrom ? options.news?.lock?.(span) : undefined
  }

  /** What the recorder has to send it sends first; those of one transaction go on together. */
  const nextTurn = createNextTurn()

  /** J8. How far a batch may go if all of it was accepted; undefined: that is not assumed. */
  function assumedOf({ partition, from, next }: Span): Allowed | undefined {
    if (!store.foldsFirst || faults !== NO_FAULTS || next - from > SMALL) return undefined
    const to = Math.min(next, options.news?.told(partition) ?? from)
    return to > from ? { to, refused: NONE, assumed: true } : undefined
  }

  /** J1, J3. How far a batch may go now, to `to`; waits a while when not at all. */
  async function allowed({ partition, from, next }: Span, mayAssume: boolean, seat?: Seat): Promise<Allowed> {
    const until = performance.now() + LONGEST_WAIT
    const { news } = options
    const wait = async (ms: number, byNews: boolean) => {
      seat?.leave()
      await (byNews && news ? news.above(partition, from, POLL.most) : pause(ms))
    }
    // A batch that was appended just now is seldom recorded already: the first question would be in vain.
    const isEarly = () => (news?.told(partition) ?? next) <= from
    if (isEarly()) {
      const lockNow = () => (mayAssume ? lockOf({ partition, from, next }) : undefined)
      // Twice: the first may be woken by a transaction whose lock is of no use to it.
      for (let n = 0; n < 2 && isEarly() && lockNow() === undefined; n++) await wait(0, true)
      const lock = isEarly() ? lockNow() : undefined
      if (lock !== undefined) {
        await nextTurn()
        return { to: next, refused: NONE, assumed: true, lock }
      }
    }
    const assumed = mayAssume ? assumedOf({ partition, from, next }) : undefined
    if (assumed) return assumed
    for (let ms = POLL.first; ; ms = Math.min(2 * ms, POLL.most)) {
      const { recorded, stopAt, refused } = await windowOf({ partition, from, next })
      const to = Math.min(next, recorded, stopAt ?? next)
      if (to > from || performance.now() > until) return { to: Math.max(from, to), refused }
      await wait(ms, stopAt === undefined)
    }
  }

  async function eventsOf(
    { partition, from, records }: LogBatch,
    { to: next, refused, assumed = false, lock }: Allowed,
    seat: Seat,
  ): Promise<Events> {
    // Its events are kept until it has them all: nothing is won by going together.
    if (projection.how === 'handle') seat.leave()
    const audit = projection.uses.includes('audit') ? await store.audit(partition, from, next) : undefined
    await schemas.ready(records)
    return (before, take) =>
      seat.go({
        wants: ({ offset }) => offset >= from && offset < before && !refused.has(offset),
        // The recorder has inspected what it stores (R9).
        isDoubtful: assumed && lock === undefined,
        take: (record, event) => take(new ProjectionEvent(event, record, audit?.get(record.offset))),
      })
  }

  /** Out of the map while it is in use: it comes back when what was folded into it is stored, and is lost otherwise. */
  function memoryOf({ partition, from }: Span): Memory {
    const known = memories.get(partition)
    memories.delete(partition)
    return known?.next === from ? known : memoryFrom(from)
  }

  async function folded(one: FoldProjection, jobs: readonly Job[], work: Pick<ProjectionWork, 'read'>): Promise<Change[]> {
    // What the partitions of a transaction must read is one question.
    const read = createCombiner(
      async (asked: readonly (readonly RowKey[])[]) => {
        const rows = Map.groupBy(await work.read(asked.flat()), ({ partition }) => partition)
        return asked.map(([first]) => rows.get(first?.partition ?? -1) ?? [])
      },
      () => undefined,
    )
    const results = await Promise.allSettled(
      jobs.map((job) => applyFold(one, job.partition, (job.memory = memoryOf(job)), wanted(job), { read })),
    )
    return results.flatMap((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }

  async function fold(one: FoldProjection, jobs: readonly Job[], work: ProjectionWork): Promise<void> {
    const changes = await folded(one, jobs, work)
    if (changes.length > 0) await work.write(changes)
  }

  /** J7. undefined: it must be folded in a transaction. */
  async function storeFolded(jobs: readonly Job[]): Promise<readonly Outcome[] | undefined> {
    const { foldsFirst } = store
    if (projection.how !== 'fold' || !foldsFirst) return undefined
    try {
      return await storeChanges(jobs, await folded(projection, jobs, foldsFirst), foldsFirst)
    } catch (error) {
      // Of what is only assumed to be accepted (J8, J9) a row may be wrong that nobody is to have.
      const isDoubtful = error instanceof RowsRefused && jobs.some(({ assumed }) => assumed)
      if (error instanceof Thrown || isDoubtful) return undefined
      throw error
    }
  }

  async function storeChanges(jobs: readonly Job[], changes: readonly Change[], foldsFirst: FoldsFirst): Promise<readonly Outcome[]> {
    await faults.at('projector:rows:folded')
    const isSmall = jobs.reduce((sum, { from, next }) => sum + next - from, 0) <= SMALL
    // Faults are between the statements of a transaction.
    if (isSmall && faults === NO_FAULTS) return foldsFirst.write(jobs, changes)
    return store.transaction(jobs, async (work, moved) => {
      await faults.at('projector:checkpoint:moved')
      const mine = changes.filter(({ partition }) => moved.has(partition))
      if (mine.length > 0) await work.write(mine)
      await faults.at('projector:rows:written')
    })
  }

  /** Events of a job that no person let pass; counted, since they are made one by one. */
  const wanted =
    (job: Job): Feed =>
    (take) => {
      const skipped = skips.get(job.partition) ?? NONE
      job.count = 0
      return job.events(job.next, (event) => {
        if (skipped.has(event.offset)) return
        job.count++
        take(event)
      })
    }

  async function collected(feed: Feed): Promise<ProjectionEvent[]> {
    const events: ProjectionEvent[] = []
    await feed((event) => events.push(event))
    return events
  }

  /** J2, J6. */
  async function storeAll(given: readonly Job[]): Promise<Stored[]> {
    // A partition that was lost and given back may be here twice: whoever is second is overtaken.
    const jobs = given.filter(({ partition }, i) => given.findIndex((one) => one.partition === partition) === i)
    const outcomes = (await storeFolded(jobs)) ?? (await storeInTransaction(jobs))
    await faults.at('projector:batch:committed')
    if (jobs.some(({ lock }, i) => lock !== undefined && outcomes[i] === 'held')) aheadFrom = performance.now() + IN_VAIN
    return given.map((job) => {
      const { partition, next, memory, count } = job
      const outcome = outcomes[jobs.indexOf(job)] ?? 'overtaken'
      if (outcome === 'stored' && memory) {
        memory.next = next
        trim(memory, options.remembered)
        memories.set(partition, memory)
      }
      return { outcome, next, events: count }
    })
  }

  const storeInTransaction = (jobs: readonly Job[]): Promise<readonly Outcome[]> =>
    store.transaction(jobs, async (work, moved) => {
      await faults.at('projector:checkpoint:moved')
      const mine = jobs.filter(({ partition }) => moved.has(partition))
      if (projection.how === 'fold') await fold(projection, mine, work)
      else for (const job of mine) await handle(projection, await collected(wanted(job)), work)
      await faults.at('projector:rows:written')
    })

  // What the recorder tells of a transaction comes in one callback.
  const shared = createCombiner(storeAll, () => undefined, 'callback')

  async function storeEvents({ partition, from, next, assumed = false, lock }: Move, events: Events): Promise<Stored> {
    const job: Job = { partition, from, next, assumed, lock, events, count: 0 }
    if (projection.how === 'fold' && next - from <= SMALL) return shared(job)
    const [stored] = await storeAll([job])
    return stored ?? { outcome: 'overtaken', next, events: 0 }
  }

  /**
   * J4. Up to the event that throws; then that one by itself, again and again. A handler takes a batch as a whole and does not say
   * which it was, nor does Postgres of a row: half the batch is tried, and half of that, until one event is left.
   */
  async function storeOrPark(given: Move, events: Events): Promise<Stored> {
    const { partition, from } = given
    let move = given
    for (let attempt = 0; ;) {
      try {
        const stored = await storeEvents(move, events)
        if (stored.outcome === 'stored' && parked.delete(partition)) await store.mended(partition)
        return stored
      } catch (error) {
        const isRefused = error instanceof RowsRefused
        if (!isRefused && !(error instanceof Thrown)) throw error
        if ((isRefused || projection.how === 'handle') && move.next - from > 1) {
          move = { ...move, next: from + Math.ceil((move.next - from) / 2) }
          continue
        }
        const event = isRefused ? (await collected((take) => events(move.next, take)))[0] : error.event
        if (!event) throw error
        if (event.offset > from) return storeEvents({ ...move, next: event.offset }, events)
        if (attempt < TRIES.length) {
          await pause(TRIES[attempt++])
          continue
        }
        const reason = await store.takeSkip(partition, event.offset)
        if (reason !== undefined) {
          skips.set(partition, await store.skipped(partition))
          watch.emit('projector:event:passed', { projection: projection.name, generation, partition, offset: event.offset, reason })
          continue
        }
        await store.park(partition, event.offset, error, event)
        watch.emit('projector:partition:parked', { projection: projection.name, generation, partition, offset: event.offset })
        parked.add(partition)
        throw new RefoldError(
          'projection-parked',
          `${projection.name} generation ${generation} at p${partition}:${event.offset}: ${error.message}`,
        )
      }
    }
  }

  /** Stores what may be stored now; answers where it goes on, undefined: nowhere for a while. */
  async function part(given: LogBatch, mayAssume: boolean): Promise<(Pick<Stored, 'outcome' | 'next'> & { assumed: boolean }) | undefined> {
    const { partition, from } = given
    const began = performance.now()
    const seat = passes.seat(given.records)
    try {
      const all = await allowed(given, mayAssume, seat)
      const { to, assumed = false, lock } = all
      if (to <= from) return undefined
      await options.yields?.(to - from, { waits: () => seat.leave() })
      const move = { partition, from, next: to, assumed, lock }
      const { outcome, next, events } = await storeOrPark(move, await eventsOf(given, all, seat))
      const facts = { projection: projection.name, generation, partition, next, highWatermark: given.highWatermark, events }
      if (outcome === 'stored') watch.emit('projector:batch:stored', { ...facts, ms: performance.now() - began })
      return { outcome, next, assumed }
    } finally {
      seat.leave()
    }
  }

  /** In parts where the recorder has only a part of it: what is left over would have to be fetched again. */
  async function batch(given: LogBatch): Promise<number> {
    let { from } = given
    let mayAssume = true
    while (from < given.next) {
      const stored = await part({ ...given, from }, mayAssume)
      if (!stored) return from
      mayAssume = !(stored.outcome === 'held' && stored.assumed)
      if (!mayAssume) continue
      if (stored.outcome !== 'stored') {
        if (stored.outcome === 'held') await pause(POLL.most)
        return store.checkpoint(given.partition)
      }
      from = stored.next
    }
    return from
  }

  /** J5. From the audit, up to the first offset that the log holds. */
  async function fromAudit(partition: number, start: number, low: number): Promise<number> {
    let from = start
    while (from < low) {
      const { to: next } = await allowed({ partition, from, next: low }, false)
      if (next <= from) throw new RefoldError('recorder-behind', `p${partition}: the recorder is at ${next}, the log begins at ${low}`)
      await options.yields?.(Math.min(next - from, AUDIT_PAGE))
      const rows = await store.events(partition, from, next, AUDIT_PAGE)
      const to = rows.length === AUDIT_PAGE ? (rows.at(-1)?.offset ?? from) + 1 : next
      const events: Events = async (before, take) => {
        for (const { event, offset, appendedAt, ...audit } of rows)
          if (offset < before) take(new ProjectionEvent(event, { partition, offset, appendedAt }, audit))
      }
      const { outcome, next: stored } = await storeOrPark({ partition, from, next: to }, events)
      from = outcome === 'stored' ? stored : await store.checkpoint(partition)
    }
    return from
  }

  return {
    async checkpoint(partition) {
      memories.delete(partition)
      skips.set(partition, await store.skipped(partition))
      if (await store.isParked(partition)) parked.add(partition)
      const next = await store.checkpoint(partition)
      const low = await options.low(partition)
      return next < low ? fromAudit(partition, next, low) : next
    },
    batch,
    forget: () => memories.clear(),
  }
}
