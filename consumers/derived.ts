// produce → log → accept → recorder → audit → [follower] → a generation of the derived tables that is not live
//
// Folds what the audit holds into one generation of the recorder's derived tables, as the recorder would have. It judges
// nothing: what is in the audit was accepted. The live generation is the recorder's own.
//
// G1  Never past the recorder's checkpoint; the generation's own checkpoint moves first, by compare-and-set, in the transaction
//     of the rows: two followers cost work, never truth.
// G2  A generation that became live, or was dropped, has no checkpoint: nothing is written for it any more.
// G3  States are read from the generation's own rows, or remembered from the transaction before.

import { LRUCache } from 'lru-cache'
import { type Faults, NO_FAULTS } from '../faults.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import { applyEvent, executionKey, type ExecutionState, initial } from '../workflow/execution.ts'
import { isSnapshotDue, SNAPSHOTS_KEPT } from '../workflow/snapshot.ts'
import { type Folded, snapshotRow, type SnapshotRow } from './recorder-fold.ts'
import { foldWork, type PlacedWork, type WorkNeed, type WorkRead } from './recorder-work.ts'

/** An accepted event, as the audit holds it. */
export type AuditEvent = { event: WorkflowEvent; seq: number; offset: number; appendedAt: number }

export type DerivedRows = {
  executions: readonly Pick<Folded, 'tenant' | 'executionId' | 'partition' | 'offset' | 'state'>[]
  snapshots: readonly SnapshotRow[]
  work: readonly PlacedWork[]
}

export type DerivedTransaction = {
  /** States of executions as the generation holds them, by key; those it does not know are left out. */
  states(wanted: readonly { tenant: string; executionId: string }[]): Promise<ReadonlyMap<string, ExecutionState>>
  readWork(needs: readonly WorkNeed[]): Promise<Map<string, WorkRead>>
  write(rows: DerivedRows): Promise<void>
}

/** The follower's port to Postgres, of one generation. */
export type DerivedStore = {
  /** By partition: where it goes on, and the recorder's checkpoint. Empty: nobody follows this generation (G2). */
  places(): Promise<readonly { partition: number; next: number; recorded: number }[]>
  events(partition: number, from: number, before: number, limit: number): Promise<readonly AuditEvent[]>
  /** G1. Runs `work` between the moved checkpoint and the commit. */
  transaction(
    move: { partition: number; from: number; next: number },
    work: (transaction: DerivedTransaction) => Promise<void>,
  ): Promise<'stored' | 'overtaken'>
}

export type FollowerOptions = {
  store: DerivedStore
  faults?: Faults
  /** Executions kept in memory, over all partitions. */
  remembered: number
  /** Events of a transaction (default 5,000). */
  page?: number
}

type Memory = { next: number; states: LRUCache<string, ExecutionState> }

export type Follower = {
  /** Folds at most a page of each partition; resolves to how many records it is behind afterwards, null: nothing to follow. */
  follow(stopping?: AbortSignal): Promise<number | null>
}

export function createFollower({ store, faults = NO_FAULTS, remembered, page: most = 5000 }: FollowerOptions): Follower {
  const memories = new Map<number, Memory>()

  async function fold(
    partition: number,
    events: readonly AuditEvent[],
    transaction: DerivedTransaction,
    memory: Memory,
  ): Promise<DerivedRows> {
    const wanted = new Map<string, { tenant: string; executionId: string }>()
    for (const { event } of events) {
      const key = executionKey(event.tenant, event.execution_id)
      if (!memory.states.has(key)) wanted.set(key, { tenant: event.tenant, executionId: event.execution_id })
    }
    const read = wanted.size > 0 ? await transaction.states([...wanted.values()]) : new Map<string, ExecutionState>()
    const before = new Map<string, ExecutionState>()
    const now = new Map<string, { state: ExecutionState; offset: number; due: ExecutionState[] }>()
    for (const { event, seq, offset, appendedAt } of events) {
      const key = executionKey(event.tenant, event.execution_id)
      let one = now.get(key)
      if (!one) {
        const known = memory.states.get(key) ?? read.get(key)
        if (known) before.set(key, known)
        now.set(key, (one = { state: known ?? initial(event.tenant, event.execution_id), offset, due: [] }))
      }
      one.state = applyEvent(one.state, { event, seq, appendedAt })
      one.offset = offset
      if (isSnapshotDue(seq)) one.due = [...one.due, one.state].slice(-SNAPSHOTS_KEPT)
    }
    // Rows of the work that are missing are those of no event yet: decisions are not counted, so that no history is folded.
    const known = new Map([...before].map(([key, state]) => [key, { head: { decision: 0 }, state }]))
    const { rows: work } = await foldWork(
      events.map(({ event, appendedAt }) => ({ event, partition, appendedAt })),
      known,
      partition,
      (needs) => transaction.readWork(needs),
    )
    for (const [key, { state }] of now) memory.states.set(key, state)
    return {
      executions: [...now.values()].map(({ state, offset }) => ({
        tenant: state.tenant,
        executionId: state.executionId,
        partition,
        offset,
        state,
      })),
      snapshots: [...now.values()].flatMap(({ due }) => due.map((state) => snapshotRow(state, partition))),
      work,
    }
  }

  /** One page; answers where it is afterwards. */
  async function page(partition: number, from: number, recorded: number, kept: number): Promise<number> {
    const events = await store.events(partition, from, recorded, most)
    const next = events.length === most ? (events.at(-1)?.offset ?? from) + 1 : recorded
    // Out of the map while it is in use: what a transaction that failed put into it is not what is stored.
    const known = memories.get(partition)
    memories.delete(partition)
    const memory = known?.next === from ? known : { next: from, states: new LRUCache<string, ExecutionState>({ max: kept }) }
    const outcome = await store.transaction({ partition, from, next }, async (transaction) => {
      await faults.at('derived:checkpoint:moved')
      if (events.length > 0) await transaction.write(await fold(partition, events, transaction, memory))
      await faults.at('derived:rows:written')
    })
    await faults.at('derived:batch:committed')
    if (outcome === 'overtaken') return from
    memory.next = next
    memories.set(partition, memory)
    return next
  }

  return {
    async follow(stopping) {
      const places = await store.places()
      if (places.length === 0) return null
      const kept = Math.max(1, Math.ceil(remembered / places.length))
      let behind = 0
      for (const { partition, next, recorded } of places) {
        if (stopping?.aborted === true) return behind
        if (next < recorded) behind += recorded - (await page(partition, next, recorded, kept))
      }
      return behind
    },
  }
}
