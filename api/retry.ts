// What a retry is good for: it brings forward the next attempt of an action that backs off, and nothing else. What failed for good is an
// outcome of the history, from which the function has gone on: no later attempt could be its outcome.

import { RefoldError } from '../errors.ts'
import type { ActionRow } from '../postgres/reads/work.ts'
import { readFailure } from '../workflow/failures.ts'
import { partitionOf } from '../workflow/partition.ts'
import type { ReadOptions } from './reading.ts'

/** A failure in the words of its author; null: it is none. */
function failureOf({ last_error: text }: ActionRow) {
  return text === null ? null : readFailure(JSON.parse(text))
}

/** Its last attempt has failed, whether the runtime has already decided so or is about to. */
const isOver = (row: ActionRow) => row.attempt >= row.attempts || failureOf(row)?.retryable === false

const backsOff = (row: ActionRow) => row.status === 'backing-off' && !isOver(row)

/** Why it cannot be retried; undefined: it can. */
function refusal(row: ActionRow): string | undefined {
  const one = `action ${row.action} (${row.name})`
  switch (row.status) {
    case 'running':
      return `attempt ${row.attempt} of ${row.attempts} of ${one} has no outcome yet`
    case 'backing-off':
    case 'failed':
      if (backsOff(row)) return undefined
      return `${one} has failed for good, by attempt ${row.attempt} of ${row.attempts}: ${failureOf(row)?.message ?? ''}`
    case 'completed':
    case 'cancelled':
    case 'abandoned':
      return `${one} is ${row.status}`
    default:
      return row.status satisfies never
  }
}

/**
 * Throws where, as the recorder has it, nothing backs off that the request means: `not-found` for an action that there is not,
 * `retry-impossible` else.
 */
export async function holdToBackOff(
  { reads, partitions }: Pick<ReadOptions, 'reads' | 'partitions'>,
  tenant: string,
  executionId: string,
  action: number | undefined,
): Promise<void> {
  if (action === undefined) {
    const { actions } = await reads.openWork(tenant, executionId)
    if (actions.some(backsOff)) return
    const open = actions.map(refusal).slice(0, 3)
    throw new RefoldError('retry-impossible', open.length === 0 ? 'no action is open' : `no action backs off: ${open.join('; ')}`)
  }
  const page = { after: action - 1, limit: 1 }
  const { value = [] } = await reads.actions(tenant, executionId, partitionOf(executionId, partitions), page)
  const row = value.find((one) => one.action === action)
  if (!row) throw new RefoldError('not-found', `execution ${executionId} has no action ${action}`)
  const why = refusal(row)
  if (why !== undefined) throw new RefoldError('retry-impossible', why)
}
