// produce → log → accept → [recorder: actions, timers, waits] → Postgres → REST
//
// Folds what a batch accepted into the rows of workflow/work.ts. Executions that have none cost a look at each event's name.
//
// K1  Rows are those of the events up to the batch, from memory, from the tables, or from the history where rows are missing.
// K2  Of a row that changes several times in a batch the last is written.
// K3  What is remembered of an execution is not changed by a batch until the batch is stored.

import type { WorkflowEvent } from '../schemas/generated.ts'
import { executionKey } from '../workflow/execution.ts'
import {
  type ActionRow,
  applyWork,
  isWork,
  noWork,
  rowsNamed,
  type TimerRow,
  type WaitRow,
  type Work,
  type WorkRow,
} from '../workflow/work.ts'
import { Layered } from './layered.ts'

/** Whose rows are asked for, and which beside the open ones. */
export type WorkNeed = {
  tenant: string
  executionId: string
  numbers: readonly number[]
  /** Decisions accepted before the batch: where there are none, there are no rows. */
  decisions: number
  /** The tables are known to be behind the audit. */
  doubted: boolean
}

export type WorkRead = { work: Work; /** Folded from the history: no row of it is sure to be stored. */ rebuilt: boolean }

/** A row as it is stored. */
export type PlacedWork = { tenant: string; executionId: string; partition: number; row: WorkRow }

/** All rows of an execution, without results. */
export type KnownWork = { actions: Map<number, ActionRow>; timers: Map<number, TimerRow>; waits: Map<number, WaitRow> }

/** The same, and what a batch sets: K3. */
export type LayeredWork = { actions: Layered<number, ActionRow>; timers: Layered<number, TimerRow>; waits: Layered<number, WaitRow> }

export const layeredWork = ({ actions, timers, waits }: KnownWork): LayeredWork => ({
  actions: new Layered(actions),
  timers: new Layered(timers),
  waits: new Layered(waits),
})

export const settledWork = ({ actions, timers, waits }: LayeredWork): KnownWork => ({
  actions: actions.settle(),
  timers: timers.settle(),
  waits: waits.settle(),
})

/** What is known of an execution before the batch. */
type Before = { head: { decision: number }; complete?: true; doubted?: true; work?: KnownWork }

type Accepted = { event: WorkflowEvent; partition: number; appendedAt: number }

type Touched = { tenant: string; executionId: string; partition: number; events: Accepted[]; before: Before | undefined }

export type FoldedWork = {
  rows: PlacedWork[]
  /** Execution key → all its rows, without results, of executions whose rows are all known. */
  work: ReadonlyMap<string, LayeredWork>
}

function touchedBy(
  audit: readonly Accepted[],
  known: ReadonlyMap<string, Before & { state: { tenant: string; executionId: string } }>,
  partition: number,
) {
  const touched = new Map<string, Touched>()
  for (const accepted of audit) {
    const { event } = accepted
    if (!isWork(event)) continue
    const key = executionKey(event.tenant, event.execution_id)
    const one = touched.get(key)
    if (one) one.events.push(accepted)
    else touched.set(key, { tenant: event.tenant, executionId: event.execution_id, partition, events: [accepted], before: known.get(key) })
  }
  for (const [key, before] of known) {
    if (before.doubted === true && !touched.has(key)) touched.set(key, { ...before.state, partition, events: [], before })
  }
  return touched
}

const needOf = ({ tenant, executionId, events, before }: Touched): WorkNeed => ({
  tenant,
  executionId,
  numbers: [...new Set(events.flatMap(({ event }) => rowsNamed(event)))],
  decisions: before?.head.decision ?? 0,
  doubted: before?.doubted === true,
})

/** Rows of an execution before the batch, where no table need be asked: none yet, or all in memory. */
function remembered({ before }: Touched): LayeredWork | undefined {
  if (!before?.work) return before === undefined || before.complete === true ? layeredWork(noWork()) : undefined
  return layeredWork(before.work)
}

/** Results may be large, and are in the execution's data already; the table keeps the one it has. */
function withoutResults(work: LayeredWork): LayeredWork {
  for (const [n, { result, ...row }] of work.actions.changes()) if (result !== undefined) work.actions.set(n, row)
  return work
}

function fold({ tenant, executionId, partition, events }: Touched, { work, rebuilt }: WorkRead): PlacedWork[] {
  const last = new Map<string, WorkRow>()
  const note = (row: WorkRow) => last.set(`${row.kind} ${row.n}`, row)
  if (rebuilt) for (const rows of [work.actions, work.timers, work.waits]) for (const row of rows.values()) note(row)
  for (const accepted of events) for (const row of applyWork(work, accepted)) note(row)
  return [...last.values()].map((row) => ({ tenant, executionId, partition, row }))
}

/** Rows to write for a batch, and what to remember. `read` asks the tables. */
export async function foldWork(
  audit: readonly Accepted[],
  known: ReadonlyMap<string, Before & { state: { tenant: string; executionId: string } }>,
  partition: number,
  read: (needs: readonly WorkNeed[]) => Promise<Map<string, WorkRead>>,
): Promise<FoldedWork> {
  const touched = touchedBy(audit, known, partition)
  const rows: PlacedWork[] = []
  const work = new Map<string, LayeredWork>()
  if (touched.size === 0) return { rows, work }
  const inMemory = new Map<string, LayeredWork>()
  for (const [key, one] of touched) {
    const before = remembered(one)
    if (before) inMemory.set(key, before)
  }
  const needs = [...touched].filter(([key]) => !inMemory.has(key)).map(([, one]) => needOf(one))
  const found = needs.length > 0 ? await read(needs) : new Map<string, WorkRead>()
  for (const [key, one] of touched) {
    const complete = inMemory.get(key)
    rows.push(...fold(one, complete ? { work: complete, rebuilt: false } : (found.get(key) ?? { work: noWork(), rebuilt: false })))
    if (complete) work.set(key, withoutResults(complete))
  }
  return { rows, work }
}
