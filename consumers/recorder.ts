// produce → log → accept → [recorder] → audit, verdicts, executions → REST
//
// Owns: turning batches into Postgres transactions. Doesn't own: fetching (kafka/), SQL
// (postgres/recorder-store.ts), the rules (workflow/accept.ts). Called by the log's reader; calls the store.
//
// R1  The checkpoint moves first, by compare-and-set; a batch whose checkpoint somebody else moved is thrown away.
// R2  Verdicts, audit, heads and executions of a batch are stored together with the checkpoint, or not at all.
// R3  A record is judged once: by what the log said before it, never by what other partitions or batches hold.
// R4  A registry or a database that is down is not a verdict: the batch fails and is read again.
// R5  Small batches of several partitions share a transaction: each moves its own checkpoint, and one that was overtaken is
//     left out. Should the transaction fail, each has one of its own.
// R6  They are one statement where that can be: what it needs is read before. Whoever writes an execution moves its partition's
//     checkpoint; so if the checkpoint is still at `from` when it is moved, what was read is as it was.
// R7  For the same reason small batches are read for and folded while the transaction before theirs is under way.
// R8  Where all executions that were looked up lately were new, those that are not remembered are assumed to be new: the statement of
//     R6 moves a checkpoint only if they are. Where one was not, the batch has a transaction, in which it is looked up.
// R9  Of batches that will be accepted as a whole, as far as is known, this process's projectors are told before they are stored, with a
//     lock that the transaction holds: who waits for it sees what it did. The recorder waits for nobody.

import { randomInt } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createCombiner } from '../combine.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import type { LogBatch, LogHandler, LogRecord, Witness } from '../kafka/log.ts'
import type { Watch } from '../watch.ts'
import {
  type AuditRow,
  type BatchResult,
  foldBatch,
  type Inspected,
  inspectAll,
  joined,
  type Known,
  type Need,
  needsOf,
  NOTHING,
  type RecorderSchemas,
  withWork,
} from './recorder-fold.ts'
import { createRecorderMemory } from './recorder-memory.ts'
import { createPace, type Paced } from './recorder-pace.ts'
import type { WorkNeed, WorkRead } from './recorder-work.ts'

/** Batches of at most so many records share a transaction. */
const SMALL = 500
/** Records above which COPY and statements by table cost less than one of all (of 500 records a tenth). */
const AT_ONCE = 100

/** R8. So many in a row that were looked up and were new. */
const NEW_IN_A_ROW = 50

/** The compare-and-set that opens a batch's transaction; `last` is the newest record it covers, if it has any. */
export type CheckpointMove = { partition: number; from: number; next: number; last?: LogRecord }

export type RecorderTransaction = {
  /** Of the derived tables: the live one, for as long as the transaction lasts. */
  readonly generation: number
  /** Executions that are new are left out. */
  read(needs: readonly Need[]): Promise<Map<string, Known>>
  /** Open actions, timers and waits, and those named by their numbers. */
  readWork(needs: readonly WorkNeed[]): Promise<Map<string, WorkRead>>
  write(result: BatchResult): Promise<void>
}

/** Reads without a transaction: what they say holds if the checkpoint that they were read for moves afterwards (R6). */
export type RecorderReads = Pick<RecorderTransaction, 'generation' | 'read' | 'readWork'>

/** Offsets [from, next) of a partition. */
export type Span = { partition: number; from: number; next: number }

/** R8. An execution that is taken for a new one. */
export type Assumed = { tenant: string; executionId: string; partition: number }

export type RecorderAtOnce = {
  reads(generation: number): RecorderReads
  /**
   * Moves the checkpoints at `from` and writes the rows of those partitions, together, while this generation is live; not of a
   * partition with an execution that is assumed to be new and is not. `lock`: held until it is over (R9).
   */
  write(
    moves: readonly CheckpointMove[],
    generation: number,
    result: BatchResult,
    assumed: readonly Assumed[],
    lock?: number,
  ): Promise<ReadonlySet<number>>
}

/** The recorder's port to Postgres. */
export type RecorderStore = {
  checkpoint(partition: number): Promise<number>
  /** The newest record stored below the checkpoint. */
  witness(partition: number): Promise<Witness | undefined>
  /**
   * Runs `work` between the moved checkpoints and the commit, with the partitions whose checkpoint was at `from`; answers them.
   * Where none was, there is no work.
   */
  transaction(
    moves: readonly CheckpointMove[],
    work: (transaction: RecorderTransaction, moved: ReadonlySet<number>) => Promise<void>,
  ): Promise<ReadonlySet<number>>
  /** R6. Absent: each batch is a transaction of several statements. */
  atOnce?: RecorderAtOnce
}

export type RecorderOptions = {
  store: RecorderStore
  schemas: RecorderSchemas
  partitions: number
  watch: Watch
  faults?: Faults
  /** Executions kept in memory between batches (default none). */
  rememberedExecutions?: number
  /** R9. Told of batches that are about to be stored by one transaction, and its lock. */
  storing?: ((spans: readonly Span[], lock: number) => void) | undefined
  /** Told of each batch that is committed, before anybody else is. */
  recorded?: ((partition: number, from: number, next: number, accepted: readonly AuditRow[]) => void) | undefined
  /** A small batch takes at least so long, ms (default 0): what comes meanwhile is the next one. */
  pace?: number
}

/** A batch as it was folded, and what was assumed for it. */
type FoldedBatch = BatchResult & { assumed: readonly Assumed[] }

/** What a batch left, and in which generation of the derived tables. */
type Stored = FoldedBatch & { generation: number }

/** `rested`: resolves when it took as long as it takes at least. */
type Done = (Stored & { rested: () => Promise<void> }) | 'overtaken'

type Job = {
  batch: LogBatch
  inspected: readonly Inspected[]
  /** R7. With the generation of the derived tables that it was folded for. */
  folded?: Stored
}

const EMPTY: FoldedBatch = { ...NOTHING, assumed: [] }

function moveOf({ batch: { partition, from, next, records } }: Job): CheckpointMove {
  const last = records.at(-1)
  return last ? { partition, from, next, last } : { partition, from, next }
}

/** R9. Postgres has one name space for the advisory locks of a database: ours are drawn above those of 32 bits. */
const newLock = () => 2 ** 40 + randomInt(2 ** 47)

function announce(
  jobs: readonly Job[],
  results: ReadonlyMap<number, FoldedBatch>,
  storing: NonNullable<RecorderOptions['storing']>,
): number | undefined {
  const sound = jobs.map(({ batch }) => batch).filter(({ partition }) => results.get(partition)?.verdicts.length === 0)
  if (sound.length === 0) return undefined
  const lock = newLock()
  storing(
    sound.map(({ partition, from, next }) => ({ partition, from, next })),
    lock,
  )
  return lock
}

const recordsOf = (jobs: readonly Job[]) => jobs.reduce((sum, { inspected }) => sum + inspected.length, 0)

const pacedOf = ({ inspected }: Job): Paced[] =>
  inspected.map((one) => {
    const { partition, offset, appendedAt } = one.record
    return { execution: 'key' in one ? one.key : `${partition}:${offset}`, appendedAt }
  })

/** `at`: on the clock of performance.now(), ms. At least a turn of the event loop: who waits for what was stored goes first. */
async function restUntil(at: number): Promise<void> {
  const rest = at - performance.now()
  if (rest >= 1) await pause(rest)
  else await new Promise<void>((resolve) => setImmediate(resolve))
}

/** The handler that a group of readers on the events topic runs. */
export function createRecorder(options: RecorderOptions): LogHandler {
  const { store, schemas, watch, faults = NO_FAULTS, rememberedExecutions = 0, partitions, pace = 0 } = options
  const paced = createPace(pace)
  const memory = createRecorderMemory(Math.ceil(rememberedExecutions / partitions))

  /** R8. Executions in a row that were looked up and were new. */
  let newInARow = 0

  /** Looks up what is not remembered. */
  async function lookUp(unknown: readonly Need[], transaction: RecorderReads): Promise<ReadonlyMap<string, Known>> {
    if (unknown.length === 0) return new Map()
    const read = await transaction.read(unknown)
    newInARow = read.size === 0 ? newInARow + unknown.length : 0
    return read
  }

  /** Folds batches of different partitions in one transaction; those that are folded already, R7, as they are. */
  async function foldAll(given: readonly Job[], transaction: RecorderReads, mayAssume: boolean): Promise<Map<number, FoldedBatch>> {
    const results = new Map<number, FoldedBatch>()
    const jobs: Job[] = []
    for (const job of given)
      if (job.folded?.generation === transaction.generation && (mayAssume || job.folded.assumed.length === 0))
        results.set(job.batch.partition, job.folded)
      else jobs.push(job)
    if (jobs.length === 0) return results
    const recalled = jobs.map((job) => {
      const { partition, from } = job.batch
      const { known, unknown, blank } = memory.recall(partition, from, transaction.generation, needsOf(job.inspected))
      const assumes = mayAssume && !blank && newInARow >= NEW_IN_A_ROW
      return { job, known, unknown: assumes ? [] : unknown, assumed: assumes ? unknown.map((need) => ({ ...need, partition })) : [] }
    })
    const read = await lookUp(
      recalled.flatMap((one) => one.unknown),
      transaction,
    )
    await faults.at('recorder:known:read')
    for (const { job, known: remembered, assumed } of recalled) {
      const { partition } = job.batch
      // An execution is of one partition only: what was read for others is not looked at.
      const known = new Map([...read, ...remembered])
      const result = await withWork(foldBatch(job.inspected, known), known, partition, (needs) => transaction.readWork(needs))
      results.set(partition, { ...result, assumed })
    }
    return results
  }

  /** Of the derived tables, as the newest transaction found it; undefined: not known. */
  let live: number | undefined

  /** R6. Those that are not in the answer must have a transaction. */
  async function storeAtOnce(jobs: readonly Job[]): Promise<Map<Job, Stored | 'overtaken'>> {
    const stored = new Map<Job, Stored | 'overtaken'>()
    const { atOnce } = store
    const generation = live
    if (!atOnce || generation === undefined) return stored
    if (recordsOf(jobs) > AT_ONCE) return stored
    const results = await foldAll(jobs, atOnce.reads(generation), true)
    const all = joined([...results.values()])
    // Incidents are statements of their own.
    if (all.verdicts.some(({ verdict }) => verdict.verdict === 'quarantined')) return stored
    const assumed = [...results.values()].flatMap((result) => result.assumed)
    const lock = options.storing ? announce(jobs, results, options.storing) : undefined
    const moved = await atOnce.write(jobs.map(moveOf), generation, all, assumed, lock)
    if (moved.size < jobs.length) {
      live = undefined
      if (assumed.some(({ partition }) => !moved.has(partition))) newInARow = 0
    }
    // Another generation may be live by now: the transaction says which.
    if (moved.size === 0) return stored
    for (const job of jobs) {
      const result = results.get(job.batch.partition) ?? EMPTY
      if (moved.has(job.batch.partition)) stored.set(job, { ...result, generation })
      else if (result.assumed.length === 0) stored.set(job, 'overtaken')
    }
    return stored
  }

  async function storeAll(given: readonly Job[]): Promise<Done[]> {
    // A partition that was lost and given back may be here twice: whoever is second is overtaken.
    const began = performance.now()
    const jobs = [...new Map(given.toReversed().map((job) => [job.batch.partition, job])).values()]
    const results = await storeAtOnce(jobs)
    const rest = jobs.filter((job) => !results.has(job))
    if (rest.length > 0) for (const [job, stored] of await storeInTransaction(rest)) results.set(job, stored)
    await faults.at('recorder:batch:committed')
    const isBehind = jobs.some(({ batch }) => batch.next < batch.highWatermark)
    const least = paced.leastOf(jobs.flatMap(pacedOf), began, isBehind)
    // One timer for all: those that rest together go on in one callback, and so may be one group again.
    let resting: Promise<void> | undefined
    const rested = () => (resting ??= restUntil(began + least))
    return given.map((job) => {
      const stored = results.get(job) ?? 'overtaken'
      return stored === 'overtaken' ? stored : { ...stored, rested }
    })
  }

  async function storeInTransaction(jobs: readonly Job[]): Promise<Map<Job, Stored | 'overtaken'>> {
    let results = new Map<number, FoldedBatch>()
    let generation = 0
    const stored = await store.transaction(jobs.map(moveOf), async (transaction, moved) => {
      const mine = jobs.filter(({ batch }) => moved.has(batch.partition))
      results = await foldAll(mine, transaction, false)
      generation = transaction.generation
      if (mine.some(({ inspected }) => inspected.length > 0)) await transaction.write(joined([...results.values()]))
    })
    if (stored.size > 0) live = generation
    return new Map(
      jobs.map((job) => {
        const { partition } = job.batch
        return [job, stored.has(partition) ? { ...(results.get(partition) ?? EMPTY), generation } : 'overtaken']
      }),
    )
  }

  const foldAhead = createCombiner(
    async (jobs: readonly (Job & { reads: RecorderReads })[]) => {
      // A partition that was lost and given back may be here twice: the other one is folded when it is stored, if it is.
      const once = [...new Map(jobs.map((job) => [job.batch.partition, job])).values()]
      const folded = new Map<Job, Stored>()
      for (const own of Map.groupBy(once, ({ reads }) => reads.generation).values()) {
        const [{ reads } = { reads: undefined }] = own
        const results = reads ? await foldAll(own, reads, true) : new Map<number, FoldedBatch>()
        for (const job of own) {
          const result = results.get(job.batch.partition)
          if (result) folded.set(job, { ...result, generation: job.reads.generation })
        }
      }
      return jobs.map((job) => folded.get(job))
    },
    () => undefined,
    'callback',
  )

  /** R7 */
  async function withFolded(job: Job): Promise<Job> {
    const generation = live
    if (!store.atOnce || generation === undefined || job.inspected.length > AT_ONCE) return job
    const folded = await foldAhead({ ...job, reads: store.atOnce.reads(generation) })
    return folded ? { ...job, folded } : job
  }

  // Whether a failed transaction was committed is not known.
  const drop = (jobs: readonly Job[]) => jobs.forEach(({ batch }) => memory.drop(batch.partition))
  const shared = createCombiner(storeAll, drop, 'callback')

  async function alone(job: Job): Promise<Done> {
    try {
      const [result = 'overtaken'] = await storeAll([job])
      return result
    } catch (error) {
      drop([job])
      throw error
    }
  }

  async function record(batch: LogBatch): Promise<number> {
    const began = performance.now()
    const { partition, next, from } = batch
    await faults.at('recorder:batch:read')
    const inspected = await inspectAll(schemas, partitions, batch.records)
    const job = await withFolded({ batch, inspected })
    const result = await (inspected.length > SMALL ? alone : shared)(job)
    if (result === 'overtaken') {
      memory.drop(partition)
      watch.emit('recorder:batch:overtaken', { partition, expected: from })
      return store.checkpoint(partition)
    }
    memory.keep(partition, next, result.generation, result.executions)
    options.recorded?.(partition, from, next, result.audit)
    const counts = { accepted: result.audit.length, refused: result.verdicts.length }
    watch.emit('recorder:batch:stored', { partition, next, highWatermark: batch.highWatermark, ...counts, ms: performance.now() - began })
    if (inspected.length <= SMALL) await result.rested()
    return next
  }

  return {
    checkpoint: (partition) => store.checkpoint(partition),
    witness: (partition) => store.witness(partition),
    batch: record,
  }
}
