// Named places before, between and after the steps of a write, where a test can make the process exit, throw, wait, or
// lose an answer. Off unless REFOLD_FAULTS names them; then each hit is a line of REFOLD_FAULT_LOG, written before it acts.

import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { RefoldError } from './errors.ts'

export const FAULT_POINTS = [
  'recorder:batch:read',
  'recorder:checkpoint:moved',
  'recorder:known:read',
  'recorder:audit:written',
  'recorder:verdicts:written',
  'recorder:heads:written',
  'recorder:executions:written',
  'recorder:snapshots:written',
  'recorder:work:written',
  'recorder:batch:committed',
  'runtime:batch:read',
  'runtime:batch:taken',
  'runtime:decision:appending',
  'runtime:decision:appended',
  'runtime:request:dispatching',
  'runtime:request:dispatched',
  'runtime:checkpoint:moving',
  'worker:attempt:starting',
  'worker:attempt:claimed',
  'worker:attempt:done',
  'worker:outcome:kept',
  'worker:outcome:appending',
  'worker:outcome:appended',
  'worker:checkpoint:moving',
  'projector:checkpoint:moved',
  'projector:rows:folded',
  'projector:rows:written',
  'projector:batch:committed',
  'derived:checkpoint:moved',
  'derived:rows:written',
  'derived:batch:committed',
  'notifier:page:added',
  'notifier:checkpoint:moved',
  'api:event:appending',
  'api:event:appended',
] as const
export type FaultPoint = (typeof FAULT_POINTS)[number]

/** What happens at a point: the process dies by SIGKILL, the step throws, or it waits between so many ms and so many. */
type Act = { act: 'kill' } | { act: 'throw' } | { act: 'wait'; least: number; most: number }

/** One order: the n-th time the point is reached in this process (`every`: each time). */
type Order = Act & { point: FaultPoint; nth: number | 'every' }

export type Faults = {
  /** Called at a point. Costs nothing when no fault is set. */
  at(point: FaultPoint): Promise<void> | undefined
}

export const NO_FAULTS: Faults = { at: () => undefined }

const ORDER = /^([a-z:]+)=(?:(kill|throw)|wait(\d+)(?:-(\d+))?)@(\d+|every)$/

function parseOrder(text: string): Order {
  const [, name, act, least, most = least, nth] = ORDER.exec(text) ?? []
  const point = FAULT_POINTS.find((one) => one === name)
  if (!point || !nth || Number(least) > Number(most))
    throw new RefoldError('config-invalid', `REFOLD_FAULTS: ${text} is not <point>=kill|throw|wait<ms>|wait<ms>-<ms>@<n>|every`)
  const when = { point, nth: nth === 'every' ? nth : Number(nth) } as const
  if (act === 'kill' || act === 'throw') return { ...when, act }
  return { ...when, act: 'wait', least: Number(least), most: Number(most) }
}

function carryOut(order: Order, random: () => number): Promise<void> | undefined {
  switch (order.act) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL')
      return undefined
    case 'throw':
      throw new Error(`fault at ${order.point}`)
    case 'wait':
      return pause(order.least + Math.floor(random() * (order.most - order.least + 1)))
    default:
      return order satisfies never
  }
}

/** Numbers in [0, 1), the same for the same seed: a digest of the seed and a counter. */
function randomOf(seed: number): () => number {
  let count = 0
  return () => createHash('sha256').update(`${seed}:${count++}`).digest().readUInt32BE() / 2 ** 32
}

/** Faults as ordered: `recorder:audit:written=kill@2,recorder:known:read=wait0-500@every`; `seed` chooses the waits. */
export function readFaults(orders: string | undefined, logFile: string | undefined, seed = 0): Faults {
  if (!orders) return NO_FAULTS
  const random = randomOf(seed)
  const all = orders.split(',').map(parseOrder)
  const reached = new Map<FaultPoint, number>()
  return {
    at(point) {
      const count = (reached.get(point) ?? 0) + 1
      reached.set(point, count)
      const order = all.find((one) => one.point === point && (one.nth === 'every' || one.nth === count))
      if (!order) return undefined
      if (logFile) appendFileSync(logFile, `${point} ${order.act}\n`)
      return carryOut(order, random)
    },
  }
}
