// The application: `npm run refold -- start --app examples/order-fulfilment/app.ts`. Its targets are imagined; the one that
// takes payments is as unreliable as they are: some of its calls fail twice.

import { actionsByName, defineApp, executionsByState, implement } from '../../index.ts'
import { processMap } from '../permit-log/process-map.ts'
import { charge, checkCredit, orderFulfilment, pack, releaseStock, reserveStock } from './workflow.ts'

/** The largest amount anybody has credit for. */
const CREDIT = 50_000
/** Orders whose payment never goes through begin like this: planted, so that there is something to diagnose. */
export const UNPAYABLE = 'order-unpayable'

// region implement
const stock = implement(reserveStock, async ({ parameters, idempotencyKey, logger }) => {
  logger.debug({ order: parameters.order }, 'stock reserved')
  return { reservation: `reservation-${idempotencyKey}` }
})
// endregion

const unreliable = implement(charge, async ({ parameters, attempt, idempotencyKey }) => {
  if (parameters.order.startsWith(UNPAYABLE)) throw new Error('the payment target answers 503')
  if (attempt < 3 && parameters.order.endsWith('7')) throw new Error('the payment target did not answer in time')
  return { payment: `payment-${idempotencyKey}` }
})

export default defineApp({
  workflows: [orderFulfilment],
  projections: [executionsByState, actionsByName, processMap],
  implementations: [
    stock,
    unreliable,
    implement(checkCredit, async ({ parameters }) => ({ approved: parameters.amount <= CREDIT })),
    implement(pack, async ({ parameters }) => ({ parcel: `${parameters.order}/${parameters.line}` })),
    implement(releaseStock, async () => ({ released: true })),
  ],
})
