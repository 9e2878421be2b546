// Named places before, between and after the steps of a write, where a test can make the process exit, throw, wait, or
// lose an answer. Off unless REFOLD_FAULTS names them; then each hit is a line of REFOLD_FAULT_LOG, written before it acts.

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
  'recorder:batch:committed',
  'api:event:appending',
  'api:event:appended',
] as const
export type FaultPoint = (typeof FAULT_POINTS)[number]

/** What happens at a point: the process dies by SIGKILL, the step throws, or it waits so many ms. */
type Act = { act: 'kill' } | { act: 'throw' } | { act: 'wait'; ms: number }

/** One order: the n-th time the point is reached in this process (`every`: each time). */
type Order = Act & { point: FaultPoint; nth: number | 'every' }

export type Faults = {
  /** Called at a point. Costs nothing when no fault is set. */
  at(point: FaultPoint): Promise<void> | undefined
}

export const NO_FAULTS: Faults = { at: () => undefined }

const ORDER = /^([a-z:]+)=(kill|throw|wait(\d+))@(\d+|every)$/

function parseOrder(text: string): Order {
  const [, name, act, ms, nth] = ORDER.exec(text) ?? []
  const point = FAULT_POINTS.find((one) => one === name)
  if (!point || !act || !nth) throw new RefoldError('config-invalid', `REFOLD_FAULTS: ${text} is not <point>=kill|throw|wait<ms>@<n>|every`)
  const when = { point, nth: nth === 'every' ? nth : Number(nth) } as const
  if (act === 'kill' || act === 'throw') return { ...when, act }
  return { ...when, act: 'wait', ms: Number(ms) }
}

function carryOut(order: Order): Promise<void> | undefined {
  switch (order.act) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL')
      return undefined
    case 'throw':
      throw new Error(`fault at ${order.point}`)
    case 'wait':
      return pause(order.ms)
    default:
      return order satisfies never
  }
}

/** Faults as ordered: `recorder:audit:written=kill@2,recorder:known:read=wait500@every`. */
export function readFaults(orders: string | undefined, logFile: string | undefined): Faults {
  if (!orders) return NO_FAULTS
  const all = orders.split(',').map(parseOrder)
  const reached = new Map<FaultPoint, number>()
  return {
    at(point) {
      const count = (reached.get(point) ?? 0) + 1
      reached.set(point, count)
      const order = all.find((one) => one.point === point && (one.nth === 'every' || one.nth === count))
      if (!order) return undefined
      if (logFile) appendFileSync(logFile, `${point} ${order.act}\n`)
      return carryOut(order)
    },
  }
}
