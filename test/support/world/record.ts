// What Postgres holds, in memory: the ports of recorder, runtime and workers, each write whole or not at all. Nothing is judged or
// folded here; that is done by the real recorder.

import { setTimeout as pause } from 'node:timers/promises'
import type { WorkerStore } from '../../../consumers/action-worker.ts'
import type { ActionStore, Claim } from '../../../consumers/attempt-port.ts'
import type { Identity, Parked, PastEvent } from '../../../consumers/driven.ts'
import type { Assumed, CheckpointMove, RecorderReads, RecorderStore } from '../../../consumers/recorder.ts'
import type { BatchResult, Folded, Known, Need } from '../../../consumers/recorder-fold.ts'
import type { KnownWork, WorkNeed, WorkRead } from '../../../consumers/recorder-work.ts'
import type { RuntimeStore } from '../../../consumers/runtime-port.ts'
import type { AttemptOutcome } from '../../../producers/inputs.ts'
import type { ActionRequest } from '../../../schemas/generated.ts'
import type { ActionSql } from '../../../workflow/action.ts'
import { executionKey } from '../../../workflow/execution.ts'
import { outcomeIdOf } from '../../../workflow/ids.ts'
import type { EventToTell } from '../../../workflow/notification.ts'
import { noWork, type WorkRow } from '../../../workflow/work.ts'

type Placed = PastEvent & { offset: number }

/** An accepted event, as it is told. */
export type Audited = EventToTell & { appendedAt: number }

export type RecordedExecution = {
  tenant: string
  executionId: string
  partition: number
  head: Folded['head']
  state: Folded['state']
  history: Placed[]
  work: KnownWork
}

/** One write of an action's transaction; done when it commits. */
type Write = () => void

/** Claims run out so many times as fast: a worker that died is found out in a moment. */
const HURRY = 100

/** Who waits for a transaction gives up after so long, ms. */
const LOCK_TIMEOUT = 100

const keyOf = ({ tenant, executionId }: Identity) => executionKey(tenant, executionId)
const attemptOf = ({ action_id, attempt }: ActionRequest) => `${action_id}/${attempt}`

/** How many are below this offset. */
function placeIn(audit: readonly Audited[], offset: number): number {
  let [low, high] = [0, audit.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((audit[middle]?.offset ?? offset) < offset) low = middle + 1
    else high = middle
  }
  return low
}

function putWork(work: KnownWork, row: WorkRow): void {
  if (row.kind === 'action') work.actions.set(row.n, row)
  else if (row.kind === 'timer') work.timers.set(row.n, row)
  else work.waits.set(row.n, row)
}

const copied = ({ actions, timers, waits }: KnownWork): KnownWork => ({
  actions: new Map(actions),
  timers: new Map(timers),
  waits: new Map(waits),
})

export class MemoryRecord {
  readonly executions = new Map<string, RecordedExecution>()
  /** Accepted events of each partition, in order. */
  readonly audit = new Map<number, Audited[]>()
  /** Offsets that were not accepted, by partition. */
  readonly #refused = new Map<number, Set<number>>()
  /** The recorder's transactions that are under way, by their locks, until they are over, committed or not. */
  readonly #underWay = new Map<number, Promise<void>>()
  /** Told of each move of the recorder's checkpoint. */
  moved: (partition: number, next: number) => void = () => undefined
  readonly parked = new Map<string, Parked>()
  /** Of the recorder, by partition. */
  readonly recorded = new Map<number, number>()
  /** Of all other readers, by name. */
  readonly #checkpoints = new Map<string, number>()
  readonly #outcomes = new Map<string, AttemptOutcome>()
  /** Until when, ms of this process's clock. */
  readonly #claims = new Map<string, number>()

  #known({ tenant, executionId, eventIds }: Need): Known | undefined {
    const found = this.executions.get(executionKey(tenant, executionId))
    if (!found) return undefined
    const asked = new Set(eventIds)
    const contents = found.history
      .filter(({ event }) => asked.has(event.event_id))
      .map(({ event, content }) => [event.event_id, content] as const)
    return { head: found.head, state: found.state, contents: new Map(contents) }
  }

  readonly #reads: RecorderReads = {
    generation: 1,
    read: async (needs) => {
      const known = new Map<string, Known>()
      for (const need of needs) {
        const found = this.#known(need)
        if (found) known.set(executionKey(need.tenant, need.executionId), found)
      }
      return known
    },
    readWork: async (needs: readonly WorkNeed[]) => {
      const read = new Map<string, WorkRead>()
      for (const need of needs) {
        const found = this.executions.get(executionKey(need.tenant, need.executionId))
        if (found) read.set(keyOf(need), { work: copied(found.work), rebuilt: false })
      }
      return read
    },
  }

  #apply({ audit, verdicts, executions, work }: BatchResult, moved: ReadonlySet<number>): void {
    for (const one of executions) {
      if (!moved.has(one.partition)) continue
      const { tenant, executionId, partition, head, state } = one
      const before = this.executions.get(keyOf(one))
      this.executions.set(keyOf(one), { history: [], work: noWork(), ...before, tenant, executionId, partition, head, state })
    }
    for (const { event, seq, from, to, appendedAt, content, partition, offset } of audit) {
      if (!moved.has(partition)) continue
      this.executions.get(executionKey(event.tenant, event.execution_id))?.history.push({ event, seq, appendedAt, content, offset })
      const told = this.audit.get(partition) ?? []
      this.audit.set(partition, told)
      told.push({ ...event, from_state: from, to_state: to, seq, partition, offset, appendedAt })
    }
    for (const { tenant, executionId, partition, row } of work) {
      const found = this.executions.get(executionKey(tenant, executionId))
      if (found && moved.has(partition)) putWork(found.work, row)
    }
    for (const { record } of verdicts) {
      if (!moved.has(record.partition)) continue
      const refused = this.#refused.get(record.partition) ?? new Set()
      this.#refused.set(record.partition, refused.add(record.offset))
    }
  }

  /** The compare-and-set and the rows, in one turn. */
  #commit(moves: readonly CheckpointMove[], result: BatchResult, assumed: readonly Assumed[]): ReadonlySet<number> {
    const wrong = new Set(assumed.filter((one) => this.executions.has(keyOf(one))).map(({ partition }) => partition))
    const free = moves.filter(({ partition, from }) => this.recorded.get(partition) === from && !wrong.has(partition))
    const moved = new Set(free.map(({ partition }) => partition))
    for (const { partition, next } of free) this.recorded.set(partition, next)
    this.#apply(result, moved)
    for (const { partition, next } of free) this.moved(partition, next)
    return moved
  }

  /** Accepted events of [from, before). */
  accepted(partition: number, from: number, before: number): readonly Audited[] {
    const audit = this.audit.get(partition) ?? []
    return audit.slice(placeIn(audit, from), placeIn(audit, before))
  }

  refusedOf(partition: number, from: number, next: number): ReadonlySet<number> {
    return new Set([...(this.#refused.get(partition) ?? [])].filter((offset) => offset >= from && offset < next))
  }

  /** Whether these transactions of the recorder, by their locks, are over, which is waited for; one that has not begun is. */
  async areOver(locks: readonly number[]): Promise<boolean> {
    const giveUp = new AbortController()
    const late = pause(LOCK_TIMEOUT, false, { signal: giveUp.signal }).catch(() => false)
    const all = Promise.all(locks.flatMap((lock) => this.#underWay.get(lock) ?? []))
    const isOver = await Promise.race([all.then(() => true), late])
    giveUp.abort()
    return isOver
  }

  /** `midway`: what happens to a transaction that has a lock before it commits; it is undone where that rejects. */
  recorderStore(midway: () => Promise<void> = async () => undefined): RecorderStore {
    return {
      checkpoint: async (partition) => {
        if (!this.recorded.has(partition)) this.recorded.set(partition, 0)
        return this.recorded.get(partition) ?? 0
      },
      witness: async () => undefined,
      transaction: async (moves, work) => {
        const mine = moves.filter(({ partition, from }) => this.recorded.get(partition) === from)
        const results: BatchResult[] = []
        const transaction = { ...this.#reads, write: async (result: BatchResult) => void results.push(result) }
        if (mine.length > 0) await work(transaction, new Set(mine.map(({ partition }) => partition)))
        // Who was overtaken meanwhile would have waited for the other's row, and then found itself overtaken.
        const whole = mine.every(({ partition, from }) => this.recorded.get(partition) === from)
        if (!whole) throw new Error('serialization failure')
        const [result = { audit: [], verdicts: [], executions: [], snapshots: [], work: [] }] = results
        return this.#commit(mine, result, [])
      },
      atOnce: {
        reads: () => this.#reads,
        write: async (moves, _generation, result, assumed, lock) => {
          if (lock === undefined) return this.#commit(moves, result, assumed)
          const over = Promise.withResolvers<void>()
          this.#underWay.set(lock, over.promise)
          try {
            await midway()
            return this.#commit(moves, result, assumed)
          } finally {
            this.#underWay.delete(lock)
            over.resolve()
          }
        },
      },
    }
  }

  /** `versions`: what the deployment registers of `all` that some deployment does. */
  runtimeStore(deployment: string, versions: readonly string[], all: readonly string[]): RuntimeStore {
    const nameOf = (partition: number) => `runtime.${deployment}/${partition}`
    const of = (partition: number) => [...this.executions.values()].filter((one) => one.partition === partition)
    return {
      checkpoint: async (partition) => {
        const known = this.#checkpoints.get(nameOf(partition))
        return known === undefined ? { next: this.recorded.get(partition) ?? 0, isNew: true } : { next: known, isNew: false }
      },
      save: async (partition, next) => this.#save(nameOf(partition), next),
      recorded: async (partition) => this.recorded.get(partition) ?? 0,
      histories: async (wanted, before, always) =>
        wanted.flatMap((one) => {
          const events = this.executions.get(keyOf(one))?.history.filter(({ offset }) => offset < before) ?? []
          const isStarted = always.has(keyOf(one)) || events.some(({ event }) => event.event_name === 'workflow.started')
          return isStarted ? [{ tenant: one.tenant, executionId: one.executionId, events }] : []
        }),
      open: async (partition) =>
        of(partition).filter(
          ({ state }) => (state.status === 'running' || state.status === 'paused') && versions.includes(state.version ?? ''),
        ),
      parked: async (partition) => of(partition).filter((one) => this.parked.has(keyOf(one))),
      openTimers: async (partition) =>
        of(partition).flatMap(({ tenant, executionId, head }) =>
          [...head.openTimers].map(([timer, fireAt]) => ({ tenant, executionId, partition, timer, fireAt })),
        ),
      waiting: async () => [],
      park: async (execution, parked) => void this.parked.set(keyOf(execution), parked),
      mended: async (execution) => void this.parked.delete(keyOf(execution)),
      isDrivenElsewhere: async (_workflow, version) => !versions.includes(version) && all.includes(version),
    }
  }

  #save(name: string, next: number): void {
    this.#checkpoints.set(name, Math.max(next, this.#checkpoints.get(name) ?? 0))
  }

  workerStore(): WorkerStore {
    const nameOf = (topic: string, partition: number) => `worker.${topic}/${partition}`
    return {
      checkpoint: async (topic, partition) => this.#checkpoints.get(nameOf(topic, partition)) ?? 0,
      save: async (topic, partition, next) => this.#save(nameOf(topic, partition), next),
    }
  }

  /** `transaction`: what the author's function does in SQL is in the writes it leaves. */
  actionStore(transaction: (writes: Write[]) => ActionSql): ActionStore {
    const put = (request: ActionRequest, outcome: AttemptOutcome) => {
      const stored = this.#outcomes.get(attemptOf(request)) ?? outcome
      this.#outcomes.set(attemptOf(request), stored)
      return stored
    }
    return {
      isOpen: async (request) => {
        const { tenant, execution_id: executionId, action, attempt } = request
        const found = this.executions.get(executionKey(tenant, executionId))
        // Not recorded yet: then it is young.
        if (!found) return true
        const id = outcomeIdOf(tenant, executionId, action, attempt)
        const status = found.work.actions.get(action)?.status
        const isGivenUp = status === 'cancelled' || status === 'failed'
        return found.head.phase === 'driven' && !isGivenUp && !found.history.some(({ event }) => event.event_id === id)
      },
      outcome: async (request) => this.#outcomes.get(attemptOf(request)),
      putOutcome: async (request, outcome) => put(request, outcome),
      claim: async (request, ttl): Promise<Claim> => {
        const until = this.#claims.get(attemptOf(request))
        if (until !== undefined) return until > performance.now() ? 'held' : 'expired'
        this.#claims.set(attemptOf(request), performance.now() + ttl / HURRY)
        return 'ours'
      },
      renew: async (request, ttl) => void this.#claims.set(attemptOf(request), performance.now() + ttl / HURRY),
      inTransaction: async (request, _isolation, work) => {
        const writes: Write[] = []
        const outcome = { result: await work(transaction(writes)) }
        if (!this.#outcomes.has(attemptOf(request))) for (const write of writes) write()
        return put(request, outcome)
      },
      progress: async () => undefined,
      tellProgress: async () => undefined,
    }
  }
}
