// a person → [operation: build, catch up, compare, promote] → live generation
//
// Every change of a projection's generations is an operation that is stored: any projector process takes its next step, so a
// closed terminal or a process that dies changes nothing.
//
// O1  Each step may be taken twice. What a step decided is stored before the next one.
// O2  Generations are compared at equal positions, a partition at a time, in one snapshot: they are held only until it is taken, and
//     the hold ends by itself too.
// O3  A promotion locks both generations' checkpoints and requires the new one to be as far as the live one.
// O4  Writes of the live rows stop for less than a second at a time: for a promotion only when the new generation is near, for a
//     comparison only where it has moved since the last time in vain.
// O5  No generation is held for one that is parked: it would never come. The operation says where it is parked, and goes on by
//     itself once that is passed.
// O6  Nor for one that no process folds: the operation says which code it waits for.
// O7  Nothing waits for a reader of a generation that is given up: it is retired at once, and its tables are tried again later.
// O8  A generation is made in the version of the newest code that was deployed and not withdrawn: processes of another leave it alone.
// O9  While a build backs off for live traffic, the operation says so: once, and when that is over.

import { setTimeout as pause } from 'node:timers/promises'
import { asError } from '../errors.ts'
import { formatPosition } from '../workflow/position.ts'
import { backedOffFor } from './back-off.ts'

export type OperationState = 'requested' | 'building' | 'comparing' | 'ready' | 'promoting' | 'done' | 'aborted' | 'failed'

/** `parked`: the offset at which the built generation stands, since its code throws there. */
export type PartitionProgress = { partition: number; next: number; live: number; recorded: number; parked: number | null }

/** Rows of a partition that are not the same in both generations; at most so many keys are shown. */
export type Difference = { table: string; key: Record<string, unknown>; kind: 'changed' | 'missing' | 'extra' }
export type PartitionComparison = {
  partition: number
  at: number
  live: number
  built: number
  differing: number
  shown: Difference[]
}

export type Comparison = { partitions: PartitionComparison[]; differing: number; notCompared?: string }

export type Operation = {
  id: string
  projection: string
  kind: 'rebuild' | 'reset' | 'rollback'
  generation: number | null
  state: OperationState
  progress: Record<string, unknown>
  comparison: Comparison | null
  wanted: 'promote' | 'abort' | null
}

/** What became of the tables of a generation that is retired; `busy`: they are dropped later. */
export type Dropping = 'dropped' | 'busy'

/** The port to Postgres, for one operation, while nobody else works on it. */
export type OperationStore = {
  open(): Promise<readonly Operation[]>
  /** Runs `step` unless another process is at it. */
  alone(operation: Operation, step: (operation: Operation) => Promise<void>): Promise<void>
  update(
    id: string,
    change: { state?: OperationState; generation?: number; progress?: object; comparison?: Comparison; line?: string },
  ): Promise<void>
  /** O8. Makes the next generation of a projection; `newest`: not made, for that version is to be built, and this process's code is of another. */
  makeGeneration(projection: string): Promise<{ generation: number } | { newest: number }>
  /** O7. Of one that is not live. `busy`: somebody reads its tables. */
  dropGeneration(projection: string, generation: number): Promise<Dropping>
  /** O7. Drops tables that were left since somebody read them, of any projection; gives the schemas that are gone now. */
  dropRetired(): Promise<readonly string[]>
  isLive(projection: string, generation: number): Promise<boolean>
  /** Why the live generation can't be compared with this one; undefined: it can. */
  notComparable(projection: string, generation: number): Promise<string | undefined>
  progress(projection: string, generation: number): Promise<readonly PartitionProgress[]>
  /** O6. The version of a generation that no process folds; undefined: one does, or it is stopped. */
  unfoldedVersion(projection: string, generation: number): Promise<number | undefined>
  /** Keeps generations at offsets, by partition, for some seconds; null lets them go on. */
  hold(projection: string, which: 'both' | 'live', generation: number, stops: ReadonlyMap<number, number | null>): Promise<void>
  /** `taken`: called once both are in one snapshot, from where on they may move. */
  compare(projection: string, generation: number, partition: number, taken: () => Promise<void>): Promise<PartitionComparison | 'apart'>
  /** O3. `behind`: the new one is not as far; `busy`: a reader of the view has it for long. */
  promote(projection: string, generation: number): Promise<'promoted' | 'behind' | 'busy'>
}

/** The built generation is caught up when it is at most so many records behind, or a tenth of them, in each partition. */
const CLOSE = 2000
const isCaughtUp = ({ next, live, recorded }: PartitionProgress): boolean => {
  const end = Math.max(live, recorded)
  return next >= end - Math.min(CLOSE, Math.floor(end / 10)) || next >= live
}

/** O4. Records that a generation may be behind, in each partition, and how long writes wait for it then, and how often it looks, ms. */
const NEAR = 500
const LONGEST_STOP = 500
const LOOK_EVERY = 20

/** What `action` gave when it was as wanted, or last. */
async function soon<T>(action: () => Promise<T>, isWanted: (result: T) => boolean): Promise<T> {
  const until = performance.now() + LONGEST_STOP
  for (;;) {
    const result = await action()
    if (isWanted(result) || performance.now() >= until) return result
    await pause(LOOK_EVERY)
  }
}

const sumOf = (partitions: readonly PartitionProgress[], of: 'next' | 'recorded') => partitions.reduce((sum, one) => sum + one[of], 0)

const releaseOf = (partitions: readonly PartitionProgress[]) => new Map(partitions.map(({ partition }) => [partition, null]))

const parkedOf = (partitions: readonly PartitionProgress[]): readonly string[] =>
  partitions.flatMap(({ partition, parked }) => (parked === null ? [] : [formatPosition({ partition, offset: parked })]))

/** What a person was told of a generation that stands, or is not made yet. */
type Standing = { parked?: readonly string[]; unfolded?: boolean; newest?: number; behind?: number }

/** O6. As `parkedLine`. */
function unfoldedLine({ projection, progress }: Operation, generation: number, version: number | undefined): string | undefined {
  const { unfolded = false } = progress as Standing
  if (unfolded === (version !== undefined)) return undefined
  if (version === undefined) return `generation ${generation} is folded again`
  return (
    `no process folds generation ${generation}: start an application that defines ${projection} version ${version} ` +
    `with --roles projector, or \`refold projection abort ${projection}\``
  )
}

/** O9. As `parkedLine`. */
function behindLine({ progress }: Operation, generation: number, behind: number): string | undefined {
  const { behind: before = 0 } = progress as Standing
  if (before > 0 === behind > 0) return undefined
  if (behind === 0) return `generation ${generation} is built at full speed again`
  return `generation ${generation} is built slowly, to leave room for live traffic: what people read is ${behind} records behind`
}

/** O5. What a person is told when it parks, and when it goes on; undefined: nothing new. */
function parkedLine({ projection, progress }: Operation, generation: number, parked: readonly string[]): string | undefined {
  const { parked: before = [] } = progress as Standing
  if (parked.join() === before.join()) return undefined
  if (parked.length === 0) return `generation ${generation} goes on from ${before.join(', ')}`
  return (
    `generation ${generation} is parked at ${parked.join(', ')}: see \`refold incidents\`, then mend the code, ` +
    `\`refold projection skip ${projection} --reason …\` or \`refold projection abort ${projection}\``
  )
}

/** `lag`: how many records what people read is behind, for which builds back off. */
export function createOperations(
  store: OperationStore,
  say: (facts: object, line: string) => void,
  lag: () => Promise<number> = async () => 0,
) {
  /** Where the built generation stood when a partition was held for it last, for nothing. Of a process: one hold more does no harm. */
  const inVain = new Map<string, string>()

  /** O5, O6. Gives the progress of the partitions, having said whether one of them is parked, and whether somebody folds it. */
  async function look(operation: Operation, generation: number): Promise<readonly PartitionProgress[]> {
    const { id, projection } = operation
    const partitions = await store.progress(projection, generation)
    const parked = parkedOf(partitions)
    const version = await store.unfoldedVersion(projection, generation)
    const lines = [parkedLine(operation, generation, parked), unfoldedLine(operation, generation, version)]
    operation.progress = { ...operation.progress, parked, unfolded: version !== undefined }
    for (const line of lines) if (line !== undefined) await store.update(id, { progress: operation.progress, line })
    return partitions
  }

  async function build(operation: Operation, generation: number): Promise<void> {
    const { id } = operation
    const partitions = await look(operation, generation)
    const parked = parkedOf(partitions)
    const behind = backedOffFor(await lag(), (operation.progress as Standing).behind ?? 0)
    const slow = behindLine(operation, generation, behind)
    const [done, total] = [sumOf(partitions, 'next'), sumOf(partitions, 'recorded')]
    const { at = Date.now(), done: before = done, rate = 0 } = operation.progress as { at?: number; done?: number; rate?: number }
    const seconds = (Date.now() - at) / 1000
    const current = seconds > 0 ? (done - before) / seconds : 0
    const smooth = Math.round(rate === 0 ? current : 0.7 * rate + 0.3 * current)
    const left = Math.max(0, total - done)
    const secondsLeft = smooth > 0 && parked.length === 0 ? Math.ceil(left / smooth) : null
    const progress = { ...operation.progress, at: Date.now(), done, total, rate: smooth, secondsLeft, behind }
    if (partitions.length > 0 && parked.length === 0 && partitions.every(isCaughtUp))
      await store.update(id, { state: 'comparing', progress: { ...progress, behind: 0 }, line: `caught up after ${done} records` })
    else await store.update(id, { progress, ...(slow === undefined ? {} : { line: slow }) })
  }

  /** O4. `apart`: the built one does not come, or not soon. */
  async function compareHeld(projection: string, generation: number, { partition, next, live }: PartitionProgress) {
    const [place, here] = [`${projection}/${partition}`, `g${generation}:${next}`]
    if (next < live && inVain.get(place) === here) return 'apart'
    const letGo = () => store.hold(projection, 'both', generation, new Map([[partition, null]]))
    await store.hold(projection, 'both', generation, new Map([[partition, Math.max(next, live)]]))
    try {
      const found = await soon(
        () => store.compare(projection, generation, partition, letGo),
        (one) => one !== 'apart',
      )
      if (found === 'apart') inVain.set(place, here)
      else inVain.delete(place)
      return found
    } finally {
      await letGo()
    }
  }

  /** O2. One partition a step. */
  async function compare(operation: Operation, generation: number): Promise<void> {
    const { id, projection, kind } = operation
    const next = kind === 'rebuild' ? 'ready' : 'promoting'
    const why = await store.notComparable(projection, generation)
    if (why !== undefined) {
      const comparison = { partitions: [], differing: 0, notCompared: why }
      return store.update(id, { state: next, comparison, line: `not compared: ${why}` })
    }
    const comparison: Comparison = operation.comparison ?? { partitions: [], differing: 0 }
    const partitions = await look(operation, generation)
    if (parkedOf(partitions).length > 0) {
      await store.hold(projection, 'both', generation, releaseOf(partitions))
      return store.update(id, { state: 'building' })
    }
    const rest = partitions.filter(({ partition }) => !comparison.partitions.some((one) => one.partition === partition))
    const [first] = rest
    if (!first) {
      const [done, total] = [sumOf(partitions, 'next'), sumOf(partitions, 'recorded')]
      const progress = { ...operation.progress, done, total, secondsLeft: 0 }
      return store.update(id, { state: next, comparison, progress, line: `compared: ${comparison.differing} differing rows` })
    }
    const found = await compareHeld(projection, generation, first)
    if (found === 'apart') return
    const compared = { partitions: [...comparison.partitions, found], differing: comparison.differing + found.differing }
    await store.update(id, { comparison: compared })
    operation.comparison = compared
    await compare(operation, generation)
  }

  async function promote(operation: Operation, generation: number): Promise<void> {
    const { id, projection } = operation
    const partitions = await look(operation, generation)
    // One that is live may have none either: a step that promoted it died before it said so.
    if (partitions.length === 0 && !(await store.isLive(projection, generation)))
      return store.update(id, { state: 'failed', line: `generation ${generation} is gone: it was retired meanwhile` })
    const { unfolded } = operation.progress as Standing
    const comes = (parked: number | null) => parked === null && unfolded !== true
    if (partitions.some(({ next, live, parked }) => next < (comes(parked) ? live - NEAR : live))) return
    await store.hold(projection, 'live', generation, new Map(partitions.map(({ partition, live }) => [partition, live])))
    const outcome = await soon(
      () => store.promote(projection, generation),
      (one) => one !== 'behind',
    )
    await store.hold(projection, 'both', generation, releaseOf(partitions))
    if (outcome === 'promoted') await store.update(id, { state: 'done', line: `generation ${generation} is live` })
  }

  async function abort({ id, projection, kind }: Operation, generation: number | null): Promise<void> {
    const isOwn = generation !== null && kind !== 'rollback'
    const outcome = isOwn ? await store.dropGeneration(projection, generation) : 'dropped'
    const later = `aborted: the tables of generation ${generation} are dropped once nobody reads them`
    await store.update(id, { state: 'aborted', line: outcome === 'busy' ? later : 'aborted' })
  }

  /** O8. Said once: a process that has the code takes it at its next look. */
  async function waitForCode({ id, projection, progress }: Operation, newest: number): Promise<void> {
    if ((progress as Standing).newest === newest) return
    const line =
      `waits for a process whose code has ${projection} version ${newest}; \`refold projection abort ${projection}\` gives it up, ` +
      `and \`refold projection withdraw ${projection}\` then says that this code was taken back`
    await store.update(id, { progress: { ...progress, newest }, line })
  }

  /** A step that promoted and died before it said so: then there is nothing to give up. */
  const isPromoted = async ({ projection, state, generation }: Operation): Promise<boolean> =>
    state === 'promoting' && generation !== null && (await store.isLive(projection, generation))

  async function step(operation: Operation): Promise<void> {
    const { id, projection, state, kind, wanted } = operation
    if (wanted === 'abort' && !(await isPromoted(operation))) return abort(operation, operation.generation)
    if (state === 'requested' && kind === 'rollback') return store.update(id, { state: 'promoting', line: 'going back' })
    if (state === 'requested') {
      const made = await store.makeGeneration(projection)
      if ('newest' in made) return waitForCode(operation, made.newest)
      return store.update(id, { state: 'building', generation: made.generation, line: `building generation ${made.generation}` })
    }
    const { generation } = operation
    if (generation === null) return store.update(id, { state: 'failed', line: 'it has no generation' })
    switch (state) {
      case 'building':
        return build(operation, generation)
      case 'comparing':
        return compare(operation, generation)
      case 'ready':
        if (wanted === 'promote') return store.update(id, { state: 'promoting', line: 'to be promoted' })
        await look(operation, generation)
        return undefined
      case 'promoting':
        return promote(operation, generation)
      case 'done':
      case 'aborted':
      case 'failed':
        return undefined
      default:
        return state satisfies never
    }
  }

  return {
    /** Takes the next step of every open operation that nobody else is at; then drops what is left of those given up (O7). */
    async advance(): Promise<void> {
      for (const operation of await store.open()) {
        try {
          await store.alone(operation, step)
        } catch (error) {
          say({ operation: operation.id, error: asError(error).message }, 'a step of an operation failed; it is taken again')
        }
      }
      try {
        for (const schema of await store.dropRetired()) say({ schema }, 'the tables of a generation that was given up are dropped')
      } catch (error) {
        say({ error: asError(error).message }, 'tables of a generation that was given up could not be dropped; again')
      }
    },
  }
}
