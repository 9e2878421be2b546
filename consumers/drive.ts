// What of one execution must leave this process now: decisions into the log, requests to workers. Each is tried until it
// is acknowledged, or its partition is somebody else's.

import { setTimeout as pause } from 'node:timers/promises'
import type { Faults } from '../faults.ts'
import type { Appended } from '../kafka/log.ts'
import type { ActionRequest, WorkflowEvent } from '../schemas/generated.ts'
import type { Watch } from '../watch.ts'
import { readScheduled } from '../workflow/action.ts'
import type { OpenAction } from '../workflow/replay.ts'
import type { Driven } from './driven.ts'
import type { Place } from './place.ts'

/** The broker's time: that of the newest record seen, and what passed since. */
export type Clock = { now(): number; saw(appendedAt: number): void }

export type DriveOptions = {
  append: (event: WorkflowEvent) => Promise<Appended>
  /** Resolves when the request is safe in its topic, or (run in this process, which `throughTopic` forbids) when its outcome is. */
  dispatch: (request: ActionRequest, queue: string | null, throughTopic: boolean) => Promise<void>
  clock: Clock
  faults: Faults
  watch: Watch
}

/**
 * Records of a partition after which an execution that holds its checkpoint must let go: of one whose actions follow each other, each handed
 * over, one is always under way. A request that goes through its topic holds nothing.
 */
const HELD = 500

/** After an append or a dispatch that failed, ms. */
export const AGAIN = 500

export function createClock(): Clock {
  // The greatest difference seen is that of the record which came fastest.
  let ahead = -Infinity
  return {
    now: () => (ahead === -Infinity ? Date.now() : performance.now() + ahead),
    saw(appendedAt) {
      const difference = appendedAt - performance.now()
      if (difference > ahead) ahead = difference
    },
  }
}

export function drive(place: Place, driven: Driven, options: DriveOptions): void {
  if (place.closed) return
  appendDecisions(place, driven, options)
  for (const open of driven.unrequested()) void request(place, driven, open, options)
  place.settle(driven)
}

function appendDecisions(place: Place, driven: Driven, options: DriveOptions): void {
  for (const event of driven.unsent()) void appended(place, driven, event, options)
}

export async function appended(place: Place, driven: Driven, event: WorkflowEvent, options: DriveOptions): Promise<void> {
  driven.inFlight++
  try {
    const { offset } = await appendOne(event, options)
    driven.inFlight--
    driven.lastAppended = Math.max(driven.lastAppended, offset)
    // Read past already, and still not read back: somebody else's came between.
    if (driven.isMissing(place.processed)) again(place, driven, options)
    // Read back before it was acknowledged: nothing else comes that would tell that it is settled.
    else if (!place.closed && place.executions.get(driven.key) === driven) place.settle(driven)
  } catch {
    // Its outcome is not known: what the log lacks is appended again, under the same ids.
    driven.inFlight--
    if (driven.inFlight > 0) return
    await pause(AGAIN)
    again(place, driven, options)
  }
}

async function appendOne(event: WorkflowEvent, { append, faults }: DriveOptions): Promise<Appended> {
  const before = faults.at('runtime:decision:appending')
  if (before) await before
  const written = await append(event)
  const after = faults.at('runtime:decision:appended')
  if (after) await after
  return written
}

function again(place: Place, driven: Driven, options: DriveOptions): void {
  if (place.closed || place.executions.get(driven.key) !== driven) return
  driven.resend()
  drive(place, driven, options)
}

async function request(place: Place, driven: Driven, open: OpenAction, options: DriveOptions): Promise<void> {
  const { key, queue } = readScheduled(open.scheduled)
  const { tenant, executionId: execution_id } = driven
  driven.requesting++
  try {
    const before = options.faults.at('runtime:request:dispatching')
    if (before) await before
    await options.dispatch(
      {
        action_id: open.actionId,
        tenant,
        execution_id,
        action: open.action,
        attempt: open.attempt,
        name: open.name,
        key: key ?? open.actionId,
        scheduled: open.scheduled,
        user_id: driven.started?.user_id ?? null,
        requested_at: Math.round(options.clock.now()),
      },
      queue,
      place.processed - (driven.unsettledFrom ?? place.processed) > HELD,
    )
    const after = options.faults.at('runtime:request:dispatched')
    if (after) await after
    options.watch.emit('runtime:action:dispatched', { name: open.name })
  } catch {
    // Not acknowledged: made again below, for as long as the attempt is open and the partition is ours.
    driven.notRequested(open.action)
    await pause(AGAIN)
  }
  driven.requesting--
  if (!place.closed && place.executions.get(driven.key) === driven) drive(place, driven, options)
}
