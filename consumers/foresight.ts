// outcome of an attempt → [foresight] → outcome and decisions → log
//
// A step in one append instead of two (decision 0015): where an execution waits for nothing but this outcome, what it decides on it
// is appended right behind, without waiting for the outcome to be read back.
//
// F1  Such a decision says which seq it must get (`decision_seq`): where anything else came first, `accept` refuses it.
// F2  Nothing has an effect but what was read back (T1): decided ahead is not done ahead.
// F3  A memory that foresaw what did not come, or that could not decide without knowing the time, is made anew from the log. Until
//     that is done it lives: what it foresaw may come yet.
// F4  Not followed: an outcome that the log will quarantine, and one whose append failed before. It may fail each time, as too large,
//     and what was decided on it would be in the log each time.
// F5  Nor where something else came first too often: each time its execution is loaded again, which others of the partition wait for.

import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { asError, RefoldError } from '../errors.ts'
import type { Appended } from '../kafka/log.ts'
import type { WorkflowEvent } from '../schemas/generated.ts'
import type { LineLog } from '../workflow/action.ts'
import { classifyOwn, payloadObject } from '../workflow/events.ts'
import { executionKey } from '../workflow/execution.ts'
import { checkEvent } from '../workflow/limits.ts'
import { AGAIN, appended, type DriveOptions } from './drive.ts'
import type { Driven, Identity } from './driven.ts'
import type { Place } from './place.ts'

/** Outcomes whose append failed, remembered by F4. */
const MOST_FORGONE = 1000
/** F5. In vain at first; then one of so many outcomes. */
const AT_FIRST = 2
const ONE_IN = 20

export type ForesightOptions = DriveOptions & {
  /** Brings executions into memory as they were before an offset. */
  load: (place: Place, wanted: readonly Identity[], before: number, always: ReadonlySet<string>) => Promise<readonly Driven[]>
  /** After anything that may have moved an execution. */
  settleOrPark: (place: Place, driven: Driven) => Promise<void>
  logger: LineLog
  /** F5. One of so many outcomes may be decided on in vain (default 20). */
  oneIn?: number
}

export type Foresight = {
  /** Appends an attempt's outcome, and what follows from it. `place`: where its execution is, if that is here. */
  append(place: Place | undefined, event: WorkflowEvent): Promise<Appended>
  /** F3. What the log says of the execution below offset `before`. */
  anew(place: Place, wrong: Driven, before: number): Promise<Driven>
}

export function createForesight(options: ForesightOptions): Foresight {
  const { watch, logger, oneIn = ONE_IN } = options
  /** Workflow, version and action on whose outcome it was asked what time it is: it would be loaded again each time. */
  const unfit = new Set<string>()
  /** F5. By workflow, version and action. */
  const tries = new Map<string, { outcomes: number; inVain: number }>()
  const triedFor = new WeakMap<Driven, { inVain: number }>()
  /** F4. By event id. */
  const forgone = new LRUCache<string, true>({ max: MOST_FORGONE })

  async function foresee(driven: Driven, event: WorkflowEvent): Promise<readonly WorkflowEvent[]> {
    const classified = classifyOwn(event)
    const { started, replay } = driven
    if ('fault' in classified || classified.role.kind !== 'outcome' || !started) return []
    if (!replay?.awaitsOnly(classified.role.action, classified.role.attempt)) return []
    // F4
    if (forgone.has(event.event_id) || checkEvent(event)) return []
    const payload = payloadObject(started)
    const action = replay.openAction(classified.role.action)?.name
    const name = JSON.stringify([payload?.['workflow_name'], payload?.['workflow_version'], action])
    if (unfit.has(name)) return []
    const tried = tries.get(name) ?? { outcomes: 0, inVain: 0 }
    tries.set(name, tried)
    tried.outcomes++
    if (tried.inVain > AT_FIRST + tried.outcomes / oneIn) return []
    triedFor.set(driven, tried)
    const decisions = await driven.foresee(classified, Math.round(options.clock.now()))
    if (decisions !== 'unfit') return decisions
    unfit.add(name)
    return []
  }

  async function anew(place: Place, wrong: Driven, before: number): Promise<Driven> {
    const { key, tenant, executionId } = wrong
    const [driven] = await options.load(place, [{ tenant, executionId }], before, new Set([key]))
    if (!driven) throw new RefoldError('internal', `execution ${executionId} has no history`)
    wrong.dispose()
    // Whoever was asked for its open attempts told the memory that is gone.
    driven.forgetRequests()
    place.takesPlaceOf(driven, wrong)
    const tried = triedFor.get(wrong)
    if (tried) tried.inVain++
    watch.emit('runtime:outcome:unforeseen', { executionId, tenant })
    return driven
  }

  /** The outcome may never come: its append failed. */
  async function forgo(place: Place, driven: Driven): Promise<void> {
    const isOpen = () => !place.closed && driven.isAhead && place.executions.get(driven.key) === driven
    for (; isOpen(); await pause(AGAIN))
      await place
        .inTurn(async () => {
          if (isOpen()) await options.settleOrPark(place, await anew(place, driven, place.processed))
        })
        .catch((error: unknown) => logger.debug({ error: asError(error).message }, 'an execution was not loaded again; it will be'))
  }

  async function append(place: Place | undefined, event: WorkflowEvent): Promise<Appended> {
    const driven = place?.executions.get(executionKey(event.tenant, event.execution_id))
    if (!place || !driven) return options.append(event)
    const wasAhead = driven.isAhead
    const decisions = await foresee(driven, event)
    const appending = options.append(event)
    if (wasAhead || !driven.isAhead) return appending
    watch.emit('runtime:outcome:foreseen', { decisions: decisions.length })
    for (const decision of decisions) void appended(place, driven, decision, options)
    return appending.catch((error: unknown) => {
      forgone.set(event.event_id, true)
      void forgo(place, driven)
      throw error
    })
  }

  return { append, anew }
}
