// An order: reserve and check credit at once, a person approves large ones, pay, pack each line; undo what was done if it fails.

import { z } from 'zod'
import { ActionFailed, defineAction, defineWorkflow } from '../../index.ts'

const order = z.object({ order: z.string(), amount: z.number(), lines: z.number().int().min(1).max(200) })

// region actions
export const reserveStock = defineAction({
  name: 'reserve_stock',
  parameters: z.object({ order: z.string() }),
  result: z.object({ reservation: z.string() }),
  retry: { attempts: 5, backoff: '200 ms' },
  timeout: '30 s',
})
export const checkCredit = defineAction({
  name: 'check_credit',
  parameters: z.object({ order: z.string(), amount: z.number() }),
  result: z.object({ approved: z.boolean() }),
})
// endregion
export const charge = defineAction({
  name: 'charge',
  parameters: z.object({ order: z.string(), amount: z.number() }),
  result: z.object({ payment: z.string() }),
  retry: { attempts: 8, backoff: '100 ms', max: '1 min' },
  timeout: '5 s',
})
export const pack = defineAction({
  name: 'pack',
  parameters: z.object({ order: z.string(), line: z.number() }),
  result: z.object({ parcel: z.string() }),
})
export const releaseStock = defineAction({
  name: 'release_stock',
  parameters: z.object({ reservation: z.string() }),
  result: z.object({ released: z.boolean() }),
})

/** Orders above this wait for a person. */
const NEEDS_APPROVAL = 1000

// region workflow
export const orderFulfilment = defineWorkflow(
  { name: 'order-fulfilment', version: '1', input: order, actions: { reserveStock, checkCredit, charge, pack, releaseStock } },
  async ({ input, actions, data, events, setState }) => {
    setState('reserving')
    const [stock, credit] = await Promise.all([
      actions.reserveStock({ order: input.order }),
      actions.check_credit({ order: input.order, amount: input.amount }),
    ])
    data.set('stock', stock)
    try {
      if (!credit.approved) return { outcome: 'no-credit' }
      if (input.amount > NEEDS_APPROVAL) {
        setState('awaiting-approval')
        const answer = await events.waitFor(['order.approved', 'order.rejected'], { timeout: '3 days' })
        if (answer?.name !== 'order.approved') return { outcome: answer ? 'rejected' : 'not-approved-in-time' }
      }
      setState('paying')
      data.set('payment', await actions.charge({ order: input.order, amount: input.amount }, { key: `charge-${input.order}` }))
      setState('packing')
      const lines = Array.from({ length: input.lines }, (_, line) => actions.pack({ order: input.order, line }))
      const parcels = await Promise.all(lines)
      setState('shipped')
      data.set('released', false)
      return { outcome: 'shipped', parcels: parcels.length }
    } catch (error) {
      if (!(error instanceof ActionFailed)) throw error
      return { outcome: 'failed', because: error.message }
    } finally {
      if (data.get('released') === undefined) await actions.releaseStock(stock)
    }
  },
)
// endregion
