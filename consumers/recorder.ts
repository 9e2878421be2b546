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

import { setTimeout as pause } from 'node:timers/promises'
import { createCombiner } from '../combine.ts'
import { type Faults, NO_FAULTS } from '../faults.ts'
import type { Decoded } from '../schemas/decoded.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head, inspect, type Judged, type Quarantined } from '../workflow/accept.ts'
import type { Classified } from '../workflow/events.ts'
import { applyEvent, computedStates, executionKey, type ExecutionState, initial } from '../workflow/execution.ts'
import { isSnapshotDue, type Snapshot, SNAPSHOTS_KEPT, takeSnapshot } from '../workflow/snapshot.ts'
import type { LogBatch, LogHandler, LogRecord, Witness } from '../kafka/log.ts'
import type { Watch } from '../watch.ts'
import type { Work } from '../workflow/work.ts'
import { createRecorderMemory } from './recorder-memory.ts'
import { foldWork, type PlacedWork, type WorkNeed, type WorkRead } from './recorder-work.ts'

/** What is known of an execution before a batch: its head, its state, and the content of ids asked about. */
export type Known = {
  head: Head
  state: ExecutionState
  contents: ReadonlyMap<string, string>
  /** True when `contents` has every accepted event, not only those asked for. */
  complete?: true
  /** The derived tables were behind: the state was folded from the history. */
  doubted?: true
  /** Actions, timers and waits, where all of them are in memory. */
  work?: Work
}

/** Which execution, and which event ids of it, a batch touches. */
export type Need = { tenant: string; executionId: string; eventIds: string[] }

export type AuditRow = {
  event: WorkflowEvent
  seq: number
  from: string
  to: string
  content: string
  partition: number
  offset: number
  appendedAt: number
}

export type VerdictRow = { verdict: Exclude<Judged, { verdict: 'accepted' }> | Quarantined; record: LogRecord; event?: WorkflowEvent }

export type Folded = {
  tenant: string
  executionId: string
  partition: number
  offset: number
  head: Head
  state: ExecutionState
  /** Content by id of every event accepted; absent when older ones are only in the database. */
  contents?: ReadonlyMap<string, string>
  /** Its actions, timers and waits, where all are known. */
  work?: Work
}

export type SnapshotRow = { snapshot: Snapshot; partition: number; recordedUntil: number; createdUntil: number }

export type BatchResult = { audit: AuditRow[]; verdicts: VerdictRow[]; executions: Folded[]; snapshots: SnapshotRow[]; work: PlacedWork[] }

const NOTHING: BatchResult = { audit: [], verdicts: [], executions: [], snapshots: [], work: [] }

/** Batches of at most so many records share a transaction. */
const SMALL = 500
/** Records above which COPY and statements by table cost less than one of all (of 500 records a tenth). */
const AT_ONCE = 100

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

export type RecorderAtOnce = {
  reads(generation: number): RecorderReads
  /** Moves the checkpoints at `from` and writes the rows of those partitions, together, while this generation is live. */
  write(moves: readonly CheckpointMove[], generation: number, result: BatchResult): Promise<ReadonlySet<number>>
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

/** The recorder's port to the schemas: decodes what it knows, learns what it doesn't. */
export type RecorderSchemas = {
  decode(bytes: Uint8Array | null): Decoded
  /** Gets a schema by its id, from the database or the registry, and keeps its text; `unknown` if there is none. */
  learn(schemaId: number): Promise<'learnt' | 'unknown'>
}

export type RecorderOptions = {
  store: RecorderStore
  schemas: RecorderSchemas
  partitions: number
  watch: Watch
  faults?: Faults
  /** Executions kept in memory between batches (default none). */
  rememberedExecutions?: number
  /** A small batch takes at least so long, ms (default 0): what comes meanwhile is the next one. */
  pace?: number
}

/** `key` is the execution's; it is made once, since making and hashing it costs more than a look into a map. */
type Inspected = { record: LogRecord; event?: WorkflowEvent } & ({ result: Classified; key: string } | { result: Quarantined })

type Read = Exclude<Decoded, { state: 'schema-needed' }>

async function decodeWithNew(schemaId: number, schemas: RecorderSchemas, record: LogRecord): Promise<Read> {
  const unknown = { state: 'unreadable', reason: 'schema-unknown', detail: `the registry has no schema ${schemaId}` } as const
  if ((await schemas.learn(schemaId)) === 'unknown') return unknown
  const again = schemas.decode(record.value)
  return again.state === 'schema-needed' ? unknown : again
}

async function inspectAll({ schemas, partitions }: RecorderOptions, records: readonly LogRecord[]): Promise<Inspected[]> {
  const all: Inspected[] = []
  for (const record of records) {
    const read = schemas.decode(record.value)
    const decoded = read.state === 'schema-needed' ? await decodeWithNew(read.schemaId, schemas, record) : read
    const result = inspect(decoded, record, partitions)
    if (!('verdict' in result)) {
      const { event } = result
      all.push({ record, event, result, key: executionKey(event.tenant, event.execution_id) })
    } else all.push(decoded.state === 'event' ? { record, event: decoded.event, result } : { record, result })
  }
  return all
}

function needsOf(inspected: readonly Inspected[]): Need[] {
  const needs = new Map<string, Need>()
  for (const one of inspected) {
    if (!('key' in one)) continue
    const { key } = one
    const { tenant, execution_id: executionId, event_id: eventId } = one.result.event
    const need = needs.get(key)
    if (need) need.eventIds.push(eventId)
    else needs.set(key, { tenant, executionId, eventIds: [eventId] })
  }
  return [...needs.values()]
}

/** An execution while a batch is folded: what was known, and what the batch added. */
class Execution {
  readonly #contents: Map<string, string>
  /** Whether #contents holds every accepted id: what was read from the database holds only those asked for. */
  readonly #complete: boolean
  head: Head
  state: ExecutionState
  offset = -1
  /** States at which a snapshot is due; older ones than are kept anyway are dropped. */
  due: ExecutionState[] = []

  constructor(known: Known | undefined, tenant: string, executionId: string) {
    this.#complete = known === undefined || known.complete === true
    this.head = known?.head ?? BLANK_HEAD
    this.state = known?.state ?? initial(tenant, executionId)
    this.#contents = new Map(known?.contents)
  }

  folded(partition: number): Folded {
    const { head, state, offset } = this
    const one = { tenant: state.tenant, executionId: state.executionId, partition, offset, head, state }
    return this.#complete ? { ...one, contents: this.#contents } : one
  }

  /** Judges one record and, if it is accepted, folds it in. */
  take(classified: Classified, record: LogRecord): AuditRow | VerdictRow {
    const { event, content } = classified
    const verdict = accept(classified, this.head, this.#contents.get(event.event_id), record.appendedAt)
    if (verdict.verdict !== 'accepted') return { verdict, record, event }
    const { from, to } = computedStates(this.state, event)
    this.head = verdict.head
    this.state = applyEvent(this.state, { event, seq: verdict.seq, appendedAt: record.appendedAt })
    this.#contents.set(event.event_id, content)
    this.offset = record.offset
    if (isSnapshotDue(verdict.seq)) this.due = [...this.due, this.state].slice(-SNAPSHOTS_KEPT)
    return { event, seq: verdict.seq, from, to, content, partition: record.partition, offset: record.offset, appendedAt: record.appendedAt }
  }
}

export const snapshotRow = (state: ExecutionState, partition: number): SnapshotRow => ({
  snapshot: takeSnapshot(state),
  partition,
  recordedUntil: state.changedAt,
  createdUntil: state.createdUntil,
})

/** Folds a batch in memory: R3. Pure, but for the maps it makes. */
function foldBatch(inspected: readonly Inspected[], known: ReadonlyMap<string, Known>): BatchResult {
  const audit: AuditRow[] = []
  const verdicts: VerdictRow[] = []
  const executions = new Map<string, Execution>()
  for (const one of inspected) {
    const { record, event } = one
    if (!('key' in one)) {
      verdicts.push(event ? { verdict: one.result, record, event } : { verdict: one.result, record })
      continue
    }
    const { result, key } = one
    const { tenant, execution_id: executionId } = result.event
    let execution = executions.get(key)
    if (!execution) executions.set(key, (execution = new Execution(known.get(key), tenant, executionId)))
    const row = execution.take(result, record)
    if ('verdict' in row) verdicts.push(row)
    else audit.push(row)
  }
  const partition = inspected[0]?.record.partition ?? -1
  const folded = [...executions.values()].filter(({ offset }) => offset >= 0).map((execution) => execution.folded(partition))
  const snapshots = [...executions.values()].flatMap(({ due }) => due.map((state) => snapshotRow(state, partition)))
  return { audit, verdicts, executions: folded, snapshots, work: [] }
}

/** Adds the work of what was accepted; executions remember theirs. */
async function withWork(
  result: BatchResult,
  known: ReadonlyMap<string, Known>,
  partition: number,
  transaction: RecorderReads,
): Promise<BatchResult> {
  const { rows, work } = await foldWork(result.audit, known, partition, (needs) => transaction.readWork(needs))
  for (const one of result.executions) {
    const key = executionKey(one.tenant, one.executionId)
    const mine = work.get(key) ?? known.get(key)?.work
    if (mine) one.work = mine
  }
  return { ...result, work: rows }
}

const joined = (results: readonly BatchResult[]): BatchResult => ({
  audit: results.flatMap(({ audit }) => audit),
  verdicts: results.flatMap(({ verdicts }) => verdicts),
  executions: results.flatMap(({ executions }) => executions),
  snapshots: results.flatMap(({ snapshots }) => snapshots),
  work: results.flatMap(({ work }) => work),
})

/** What a batch left, and in which generation of the derived tables. */
type Stored = BatchResult & { generation: number }

type Job = {
  batch: LogBatch
  inspected: readonly Inspected[]
  /** R7. With the generation of the derived tables that it was folded for. */
  folded?: Stored
}

function moveOf({ batch: { partition, from, next, records } }: Job): CheckpointMove {
  const last = records.at(-1)
  return last ? { partition, from, next, last } : { partition, from, next }
}

/** The handler that a group of readers on the events topic runs. */
export function createRecorder(options: RecorderOptions): LogHandler {
  const { store, watch, faults = NO_FAULTS, rememberedExecutions = 0, partitions, pace = 0 } = options
  const memory = createRecorderMemory(Math.ceil(rememberedExecutions / partitions))

  /** Folds batches of different partitions in one transaction; those that are folded already, R7, as they are. */
  async function foldAll(given: readonly Job[], transaction: RecorderReads): Promise<Map<number, BatchResult>> {
    const results = new Map<number, BatchResult>()
    const jobs: Job[] = []
    for (const job of given)
      if (job.folded?.generation === transaction.generation) results.set(job.batch.partition, job.folded)
      else jobs.push(job)
    if (jobs.length === 0) return results
    const recalled = jobs.map(({ batch, inspected }) =>
      memory.recall(batch.partition, batch.from, transaction.generation, needsOf(inspected)),
    )
    const unknown = recalled.flatMap((one) => one.unknown)
    const read = unknown.length > 0 ? await transaction.read(unknown) : new Map<string, Known>()
    await faults.at('recorder:known:read')
    for (const [i, { batch, inspected }] of jobs.entries()) {
      // An execution is of one partition only: what was read for others is not looked at.
      const known = new Map([...read, ...(recalled[i]?.known ?? [])])
      results.set(batch.partition, await withWork(foldBatch(inspected, known), known, batch.partition, transaction))
    }
    return results
  }

  /** Of the derived tables, as the newest transaction found it; undefined: not known. */
  let live: number | undefined

  /** R6. undefined: it must be a transaction of its own. */
  async function storeAtOnce(jobs: readonly Job[]): Promise<(Stored | 'overtaken')[] | undefined> {
    const { atOnce } = store
    const generation = live
    if (!atOnce || generation === undefined) return undefined
    if (jobs.reduce((sum, { inspected }) => sum + inspected.length, 0) > AT_ONCE) return undefined
    const results = await foldAll(jobs, atOnce.reads(generation))
    const all = joined([...results.values()])
    // Incidents are statements of their own.
    if (all.verdicts.some(({ verdict }) => verdict.verdict === 'quarantined')) return undefined
    const moved = await atOnce.write(jobs.map(moveOf), generation, all)
    if (moved.size < jobs.length) live = undefined
    // Another generation may be live by now: the transaction says which.
    if (moved.size === 0) return undefined
    return jobs.map(({ batch: { partition } }) =>
      moved.has(partition) ? { ...(results.get(partition) ?? NOTHING), generation } : 'overtaken',
    )
  }

  async function storeAll(given: readonly Job[]): Promise<(Stored | 'overtaken')[]> {
    // A partition that was lost and given back may be here twice: whoever is second is overtaken.
    const jobs = [...new Map(given.toReversed().map((job) => [job.batch.partition, job])).values()]
    const stored = (await storeAtOnce(jobs)) ?? (await storeInTransaction(jobs))
    await faults.at('recorder:batch:committed')
    const results = new Map(jobs.map((job, i) => [job, stored[i]]))
    return given.map((job) => results.get(job) ?? 'overtaken')
  }

  async function storeInTransaction(jobs: readonly Job[]): Promise<(Stored | 'overtaken')[]> {
    let results = new Map<number, BatchResult>()
    let generation = 0
    const stored = await store.transaction(jobs.map(moveOf), async (transaction, moved) => {
      const mine = jobs.filter(({ batch }) => moved.has(batch.partition))
      results = await foldAll(mine, transaction)
      generation = transaction.generation
      if (mine.some(({ inspected }) => inspected.length > 0)) await transaction.write(joined([...results.values()]))
    })
    if (stored.size > 0) live = generation
    return jobs.map(({ batch: { partition } }) =>
      stored.has(partition) ? { ...(results.get(partition) ?? NOTHING), generation } : 'overtaken',
    )
  }

  const foldAhead = createCombiner(
    async (jobs: readonly (Job & { reads: RecorderReads })[]) => {
      // A partition that was lost and given back may be here twice: the other one is folded when it is stored, if it is.
      const once = [...new Map(jobs.map((job) => [job.batch.partition, job])).values()]
      const folded = new Map<Job, Stored>()
      for (const own of Map.groupBy(once, ({ reads }) => reads.generation).values()) {
        const [{ reads } = { reads: undefined }] = own
        const results = reads ? await foldAll(own, reads) : new Map<number, BatchResult>()
        for (const job of own) {
          const result = results.get(job.batch.partition)
          if (result) folded.set(job, { ...result, generation: job.reads.generation })
        }
      }
      return jobs.map((job) => folded.get(job))
    },
    () => undefined,
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
  const shared = createCombiner(storeAll, drop)

  async function alone(job: Job): Promise<Stored | 'overtaken'> {
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
    const inspected = await inspectAll(options, batch.records)
    const job = await withFolded({ batch, inspected })
    const result = await (inspected.length > SMALL ? alone : shared)(job)
    if (result === 'overtaken') {
      memory.drop(partition)
      watch.emit('recorder:batch:overtaken', { partition, expected: from })
      return store.checkpoint(partition)
    }
    memory.keep(partition, next, result.generation, result.executions)
    const counts = { accepted: result.audit.length, refused: result.verdicts.length }
    watch.emit('recorder:batch:stored', { partition, next, highWatermark: batch.highWatermark, ...counts, ms: performance.now() - began })
    const rest = inspected.length > SMALL ? 0 : pace - (performance.now() - began)
    if (rest >= 1) await pause(rest)
    return next
  }

  return {
    checkpoint: (partition) => store.checkpoint(partition),
    witness: (partition) => store.witness(partition),
    batch: record,
  }
}
