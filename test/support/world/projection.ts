// The rows of one projection's generation, in memory: the port of a projector, each write whole or not at all.

import { setTimeout as pause } from 'node:timers/promises'
import { createProjector } from '../../../consumers/projector.ts'
import type {
  Change,
  Move,
  Outcome,
  ProjectionStore,
  ProjectionWork,
  RecordedNews,
  RowKey,
  StoredRow,
} from '../../../consumers/projection-port.ts'
import { createReaderSchemas, eventReader } from '../../../consumers/reader-schemas.ts'
import { createSharedPasses } from '../../../consumers/shared-pass.ts'
import { NO_FAULTS } from '../../../faults.ts'
import type { LogHandler } from '../../../kafka/log.ts'
import type { FoldProjection } from '../../../projections/define.ts'
import type { EventCodec } from '../../../schemas/codec.ts'
import { createWatch } from '../../../watch.ts'
import type { MortalProcess } from './process.ts'
import type { MemoryRecord } from './record.ts'

/** As refold.await_recorded looks again, a millisecond after another. */
const LOOKS = 20

const nameOf = ({ partition, tenant, key }: RowKey) => JSON.stringify([partition, tenant, key])

/** A move as a test changes it, to see that the check sees it. */
export type ChangedMove = (move: Move, checkpoint: number) => Move

export class MemoryProjection {
  readonly rows = new Map<string, StoredRow>()
  /** Partition → offset that is not passed for a while. */
  readonly holds = new Map<number, number>()
  /** What a generation was parked for. */
  readonly parked: string[] = []
  readonly checkpoints = new Map<number, number>()
  /** J9. Batches that were written while the recorder's transaction was under way, in vain, and of these where it refused a record. */
  readonly ahead = { written: 0, inVain: 0, refused: 0 }
  /** What was committed before the recorder had it. */
  readonly early: string[] = []
  readonly #record: MemoryRecord
  readonly #changed: ChangedMove

  constructor(record: MemoryRecord, changed: ChangedMove = (move) => move) {
    this.#record = record
    this.#changed = changed
  }

  #outcomeOf(move: Move): Outcome {
    const checkpoint = this.checkpoints.get(move.partition) ?? 0
    const { partition, from, next, assumed } = this.#changed(move, checkpoint)
    if (checkpoint !== from) return 'overtaken'
    if (next > (this.holds.get(partition) ?? next)) return 'held'
    return assumed !== true || this.#isRecorded({ partition, from, next }) ? 'stored' : 'held'
  }

  #isRecorded({ partition, from, next }: Move): boolean {
    const recorded = this.#record.recorded.get(partition) ?? 0
    return next <= recorded && this.#record.refusedOf(partition, from, next).size === 0
  }

  /** The compare-and-set and the rows, in one turn. */
  #commit(moves: readonly Move[], changes: readonly Change[]): readonly Outcome[] {
    const outcomes = moves.map((move) => this.#outcomeOf(move))
    const moved = new Set(moves.filter((_, n) => outcomes[n] === 'stored').map(({ partition }) => partition))
    for (const { partition, next } of moves) {
      if (!moved.has(partition)) continue
      const recorded = this.#record.recorded.get(partition) ?? 0
      if (next > recorded) this.early.push(`p${partition} was written up to ${next} when it was recorded up to ${recorded}`)
      this.checkpoints.set(partition, next)
    }
    for (const change of changes) {
      if (!moved.has(change.partition)) continue
      const { partition, tenant, row } = change
      if (row) this.rows.set(nameOf(change), { partition, tenant, row })
      else this.rows.delete(nameOf(change))
    }
    return outcomes
  }

  /** J9. Whether what is assumed of these moves holds when the transactions of these locks are over, or soon after. */
  async #hold(moves: readonly Move[], locks: readonly number[]): Promise<boolean> {
    if (!(await this.#record.areOver(locks))) return false
    const assumed = moves.filter((move) => this.#changed(move, this.checkpoints.get(move.partition) ?? 0).assumed)
    for (let looks = 0; looks <= LOOKS; looks++) {
      if (assumed.every((move) => this.#isRecorded(move))) return true
      await pause(1)
    }
    return false
  }

  /** J9. As the statement does: it waits for the locks, looks for a while, and then writes all that it may, or nothing at all. */
  async #write(moves: readonly Move[], changes: readonly Change[]): Promise<readonly Outcome[]> {
    const locks = moves.flatMap(({ lock }) => lock ?? [])
    if (locks.length === 0) return this.#commit(moves, changes)
    const outcomes = (await this.#hold(moves, locks)) ? this.#commit(moves, changes) : moves.map((): Outcome => 'held')
    for (const [n, move] of moves.entries()) if (move.lock !== undefined) this.#count(move, outcomes[n])
    return outcomes
  }

  #count({ partition, from, next }: Move, outcome: Outcome | undefined): void {
    if (outcome === 'stored') this.ahead.written++
    if (outcome !== 'held') return
    this.ahead.inVain++
    if (this.#record.refusedOf(partition, from, next).size > 0) this.ahead.refused++
  }

  store(): ProjectionStore {
    const read = async (keys: readonly RowKey[]) => keys.flatMap((key) => this.rows.get(nameOf(key)) ?? [])
    return {
      checkpoint: async (partition) => this.checkpoints.get(partition) ?? 0,
      recorded: async (partition) => this.#record.recorded.get(partition) ?? 0,
      windows: async (asked) =>
        asked.map(({ partition, from, next }) => ({
          recorded: this.#record.recorded.get(partition) ?? 0,
          stopAt: this.holds.get(partition),
          refused: this.#record.refusedOf(partition, from, next),
        })),
      audit: () => Promise.reject(new Error('no projection here uses the audit')),
      events: () => Promise.reject(new Error('the log is never cut here')),
      transaction: async (moves, work) => {
        const before = moves.map((move) => this.#outcomeOf(move))
        const moved = new Set(moves.filter((_, n) => before[n] === 'stored').map(({ partition }) => partition))
        const changes: Change[] = []
        const mine: ProjectionWork = {
          read,
          write: async (written) => void changes.push(...written),
          sql: { query: () => Promise.reject(new Error('no handler here')) },
        }
        if (moved.size > 0) await work(mine, moved)
        // Who was overtaken meanwhile would have waited for the other's row, and then found itself overtaken.
        if (moves.some((move, n) => before[n] === 'stored' && this.#outcomeOf(move) === 'overtaken'))
          throw new Error('serialization failure')
        return this.#commit(moves, changes)
      },
      foldsFirst: { read, write: (moves, changes) => this.#write(moves, changes) },
      skipped: async () => new Set(),
      takeSkip: async () => undefined,
      isParked: async () => false,
      park: async (partition, offset, error) => void this.parked.push(`p${partition}:${offset} ${error.message}`),
      mended: async () => undefined,
    }
  }
}

export type ProjectorParts = {
  process: MortalProcess
  projections: ReadonlyMap<FoldProjection, MemoryProjection>
  codec: EventCodec
  partitions: number
  /** Absent: the recorder is asked now and then. */
  news?: RecordedNews
  /** Whether fault points are places to die at: then no batch is one statement. */
  faulty: boolean
}

/** Handlers of the readers of one process, by the projection's name. */
export function projectorHandlers({
  process,
  projections,
  codec,
  partitions,
  news,
  faulty,
}: ProjectorParts): ReadonlyMap<string, LogHandler> {
  const passes = createSharedPasses(eventReader(codec))
  return new Map(
    [...projections].map(([projection, memory]) => {
      const own = process.port('rows', memory.store())
      const store: ProjectionStore = {
        ...memory.store(),
        ...Object.fromEntries(
          (['checkpoint', 'recorded', 'windows', 'skipped', 'isParked', 'mended'] as const).map((name) => [name, own[name]]),
        ),
        park: own.park,
        transaction: (moves, work) =>
          process.remote('rows.transaction', () =>
            memory
              .store()
              .transaction(moves, (mine, moved) =>
                work({ ...process.port('rows', { read: mine.read, write: mine.write }), sql: mine.sql }, moved),
              ),
          ),
        foldsFirst: process.port('rows', memory.store().foldsFirst!),
      }
      const schemas = createReaderSchemas(codec, { get: async () => undefined }, partitions, store.recorded)
      const faults = faulty ? process.faults : NO_FAULTS
      const projector = createProjector({
        projection,
        generation: 1,
        store,
        schemas,
        low: async () => 0,
        watch: createWatch(),
        faults,
        passes,
        remembered: 20,
        ...(news ? { news } : {}),
      })
      return [projection.name, projector] as const
    }),
  )
}
