// records, what is known → [fold] → audit, verdicts, executions, snapshots, work
//
// A batch in memory, without a transaction: reads the records, names what must be known of their executions, judges (R3) and folds.
// Owns nothing that outlives a batch. Called by recorder.ts.

import type { LogRecord } from '../kafka/log.ts'
import type { Decoded } from '../schemas/decoded.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { accept, BLANK_HEAD, type Head, inspect, type Judged, type Quarantined } from '../workflow/accept.ts'
import type { Classified } from '../workflow/events.ts'
import { applyEvent, computedStates, executionKey, type ExecutionState, initial } from '../workflow/execution.ts'
import { isSnapshotDue, type Snapshot, SNAPSHOTS_KEPT, takeSnapshot } from '../workflow/snapshot.ts'
import { Layered } from './layered.ts'
import { foldWork, type KnownWork, type LayeredWork, layeredWork, type PlacedWork, type WorkNeed, type WorkRead } from './recorder-work.ts'

/** What is known of an execution before a batch: its head, its state, and the content of ids asked about. */
export type Known = {
  head: Head
  state: ExecutionState
  contents: Map<string, string>
  /** True when `contents` has every accepted event, not only those asked for. */
  complete?: true
  /** The derived tables were behind: the state was folded from the history. */
  doubted?: true
  /** Actions, timers and waits, where all of them are in memory. */
  work?: KnownWork
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
  contents?: Layered<string, string>
  /** Its actions, timers and waits, where all are known. */
  work?: LayeredWork
}

export type SnapshotRow = { snapshot: Snapshot; partition: number; recordedUntil: number; createdUntil: number }

export type BatchResult = { audit: AuditRow[]; verdicts: VerdictRow[]; executions: Folded[]; snapshots: SnapshotRow[]; work: PlacedWork[] }

/** Of a batch that holds no record. */
export const NOTHING: BatchResult = { audit: [], verdicts: [], executions: [], snapshots: [], work: [] }

/** The recorder's port to the schemas: decodes what it knows, learns what it doesn't. */
export type RecorderSchemas = {
  decode(record: LogRecord): Decoded
  /** Gets a schema by its id, from the database or the registry, and keeps its text; `unknown` if there is none. */
  learn(schemaId: number): Promise<'learnt' | 'unknown'>
}

/** `key` is the execution's; it is made once, since making and hashing it costs more than a look into a map. */
export type Inspected = { record: LogRecord; event?: WorkflowEvent } & ({ result: Classified; key: string } | { result: Quarantined })

type Read = Exclude<Decoded, { state: 'schema-needed' }>

async function decodeWithNew(schemaId: number, schemas: RecorderSchemas, record: LogRecord): Promise<Read> {
  const unknown = { state: 'unreadable', reason: 'schema-unknown', detail: `the registry has no schema ${schemaId}` } as const
  if ((await schemas.learn(schemaId)) === 'unknown') return unknown
  const again = schemas.decode(record)
  return again.state === 'schema-needed' ? unknown : again
}

export async function inspectAll(schemas: RecorderSchemas, partitions: number, records: readonly LogRecord[]): Promise<Inspected[]> {
  const all: Inspected[] = []
  for (const record of records) {
    const read = schemas.decode(record)
    const decoded = read.state === 'schema-needed' ? await decodeWithNew(read.schemaId, schemas, record) : read
    const result = inspect(decoded, record, partitions)
    if (!('verdict' in result)) {
      const { event } = result
      all.push({ record, event, result, key: executionKey(event.tenant, event.execution_id) })
    } else all.push(decoded.state === 'event' ? { record, event: decoded.event, result } : { record, result })
  }
  return all
}

export function needsOf(inspected: readonly Inspected[]): Need[] {
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
  readonly #contents: Layered<string, string>
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
    this.#contents = new Layered(known?.contents)
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

/** Folds a batch in memory: R3. Pure: what is known stays as it is. */
export function foldBatch(inspected: readonly Inspected[], known: ReadonlyMap<string, Known>): BatchResult {
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
export async function withWork(
  result: BatchResult,
  known: ReadonlyMap<string, Known>,
  partition: number,
  readWork: (needs: readonly WorkNeed[]) => Promise<Map<string, WorkRead>>,
): Promise<BatchResult> {
  const { rows, work } = await foldWork(result.audit, known, partition, readWork)
  for (const one of result.executions) {
    const key = executionKey(one.tenant, one.executionId)
    const before = known.get(key)?.work
    const mine = work.get(key) ?? (before && layeredWork(before))
    if (mine) one.work = mine
  }
  return { ...result, work: rows }
}

export const joined = (results: readonly BatchResult[]): BatchResult => ({
  audit: results.flatMap(({ audit }) => audit),
  verdicts: results.flatMap(({ verdicts }) => verdicts),
  executions: results.flatMap(({ executions }) => executions),
  snapshots: results.flatMap(({ snapshots }) => snapshots),
  work: results.flatMap(({ work }) => work),
})
