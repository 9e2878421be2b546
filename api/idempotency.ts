// An Idempotency-Key gives the same ids again. Under them other content is refused once the first is recorded; before
// that, or while Postgres is away, it is appended and ends as `conflict`: the log decides, this only tells it sooner.

import { RefoldError } from '../errors.ts'
import { contentOf } from '../workflow/content.ts'
import type { Item } from './items.ts'
import type { Reads } from './ports.ts'
import { problemOf } from './problem.ts'

export async function refuseOtherContent(items: readonly Item[], tenant: string, { contents }: Pick<Reads, 'contents'>): Promise<Item[]> {
  const events = items.flatMap((item) => (item.state === 'event' ? item.event : []))
  if (events.length === 0) return [...items]
  let recorded: ReadonlyMap<string, string>
  try {
    recorded = await contents(
      tenant,
      events.map(({ execution_id: executionId, event_id: eventId }) => ({ executionId, eventId })),
    )
  } catch (error) {
    if (error instanceof RefoldError && error.code === 'database-unavailable') return [...items]
    throw error
  }
  return items.map((item) => {
    if (item.state === 'refused') return item
    const { execution_id: executionId, event_id: eventId } = item.event
    const known = recorded.get(`${executionId}/${eventId}`)
    if (known === undefined || known === contentOf(item.event)) return item
    return { state: 'refused', problem: problemOf('idempotency-conflict', `event ${eventId} of execution ${executionId}`) }
  })
}
