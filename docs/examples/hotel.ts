// An application with an action of each guarantee: docs/workflows.md shows its regions, test/docs/workflows.test.ts runs it.
// HOTEL_PARTNERS is the address of those who take payments and print letters; hotel.sql makes its table.

import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { ActionFailed, defineAction, defineApp, defineWorkflow, implement, implementDatabase } from '../../index.ts'

// region contracts
const bookRoom = defineAction({
  name: 'book_room',
  parameters: z.object({ room: z.string(), day: z.iso.date() }),
  result: z.object({ booking: z.string() }),
  guarantee: 'exactly-once',
  isolation: 'serializable',
  retry: { attempts: 10, backoff: '100 ms', factor: 2, max: '5 s' },
})
const charge = defineAction({
  name: 'charge',
  parameters: z.object({ booking: z.string(), cents: z.number() }),
  result: z.object({ payment: z.string() }),
  timeout: '10 s',
})
const postLetter = defineAction({
  name: 'post_letter',
  parameters: z.object({ booking: z.string() }),
  result: z.object({ posted: z.boolean() }),
  guarantee: 'at-most-once',
  retry: { attempts: 1 },
})
const printGuide = defineAction({
  name: 'print_guide',
  parameters: z.object({ pages: z.number() }),
  result: z.object({ pages: z.number() }),
  timeout: '1 hour',
  heartbeat: '10 s',
})
// endregion

const partners = process.env['HOTEL_PARTNERS'] ?? 'http://127.0.0.1:9'

async function post(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<string> {
  const answer = await fetch(`${partners}${path}`, { method: 'POST', headers, signal })
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`)
  return answer.text()
}

// region database
const booker = implementDatabase(bookRoom, async ({ parameters: { room, day }, tenant, idempotencyKey, sql }) => {
  const taken = await sql.query('SELECT FROM hotel.bookings WHERE tenant = $1 AND room = $2 AND day = $3', [tenant, room, day])
  if (taken.length > 0) throw Object.assign(new Error(`room ${room} is taken on ${day}`), { code: 'ROOM_TAKEN', retryable: false })
  await sql.query('INSERT INTO hotel.bookings (tenant, booking, room, day) VALUES ($1, $2, $3, $4)', [tenant, idempotencyKey, room, day])
  return { booking: idempotencyKey }
})
// endregion

// region outside
const cashier = implement(charge, async ({ parameters, idempotencyKey, secret, signal }) => {
  const headers = { authorization: `Bearer ${secret('payments')}`, 'idempotency-key': idempotencyKey }
  return { payment: await post(`/payments?cents=${parameters.cents}`, headers, signal) }
})
const postman = implement(postLetter, async ({ parameters, signal }) => {
  await post(`/letters?booking=${parameters.booking}`, {}, signal)
  return { posted: true }
})
// endregion

// region long
const printer = implement(printGuide, async ({ parameters, progress, heartbeat, signal }) => {
  let pages = z.object({ pages: z.number() }).safeParse(progress).data?.pages ?? 0
  while (pages < parameters.pages) {
    await pause(20, undefined, { signal }) // a page's work; it ends at the timeout, or with its worker
    heartbeat({ pages: ++pages })
  }
  return { pages }
})
// endregion

// region workflow
const stay = defineWorkflow(
  {
    name: 'stay',
    version: '1',
    input: z.object({ room: z.string(), day: z.string() }),
    actions: { bookRoom, charge, postLetter, printGuide },
  },
  async ({ input, actions }) => {
    try {
      const { booking } = await actions.bookRoom(input)
      await actions.charge({ booking, cents: 9000 }, { key: `stay-${booking}` })
      const posted = await actions.postLetter({ booking }).catch((error: unknown) => {
        if (error instanceof ActionFailed && error.errorName === 'OutcomeUnknown') return { posted: 'perhaps' } // a person looks
        throw error
      })
      return { booking, ...posted, ...(await actions.printGuide({ pages: 5 })) }
    } catch (error) {
      if (error instanceof ActionFailed && error.code === 'ROOM_TAKEN') return { booking: null }
      throw error
    }
  },
)
// endregion

export default defineApp({ workflows: [stay], implementations: [booker, cashier, postman, printer] })
