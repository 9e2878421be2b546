// Shapes of requests and answers: what is checked on the way in, and what /openapi.json says.

import { z } from 'zod'
import { parsePosition, parsePositions } from '../workflow/position.ts'

export const executionId = z
  .guid('is not a UUID')
  .transform((id) => id.toLowerCase())
  .describe('Id of the execution.')

/** `p7:120345` → partition and offset. */
export const onePosition = z
  .string()
  .transform((text, context) => {
    const parsed = parsePosition(text)
    if (parsed) return parsed
    context.addIssue({ code: 'custom', message: 'is not a position like p7:120345' })
    return z.NEVER
  })
  .describe('Position of a record, p7:120345.')

/** `p7:120345`, or several with commas → partition → offset. */
export const positions = z.string().transform((text, context) => {
  const parsed = parsePositions(text)
  if (parsed) return parsed
  context.addIssue({ code: 'custom', message: 'is not a position like p7:120345, or several with commas' })
  return z.NEVER
})

/** To go on after: as `positions`, each partition once; '' names none, since that is `next` while nothing is recorded. */
export const positionsOrNone = z.string().transform((text, context) => {
  const parsed = text === '' ? new Map<number, number>() : parsePositions(text)
  const isOnce = parsed?.size === (text === '' ? 0 : text.split(',').length)
  if (parsed && isOnce) return parsed
  const message = parsed
    ? 'names a partition twice: name one position of each, the last one seen'
    : 'is not a position like p7:120345, or several with commas'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const minPosition = positions
  .optional()
  .describe(
    'Answer only from a state that has recorded this position (p7:120345; several with commas), else 412. With `Prefer: wait=N`, wait.',
  )

export const limit = (fallback: number, most: number) =>
  z.coerce.number<string>().int().min(1).max(most).default(fallback).describe(`At most so many; default ${fallback}, largest ${most}.`)

export const time = z.iso.datetime({ offset: true, error: 'is not ISO 8601 with a time zone' })

/** Headers of every read. Names are lower case, as Node hands them over. */
export const readHeaders = z.object({
  prefer: z.string().optional().describe('`wait=N`: wait up to N seconds (at most 60) for `minPosition`.'),
})

export const problem = z
  .looseObject({
    type: z.string().describe('Stable: urn:refold:problem:<code>.'),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    help: z.string().describe('What to do about it.'),
    retryable: z.boolean().describe('The same request may succeed later.'),
  })
  .meta({ id: 'Problem' })

const position = z.string().describe('Partition and offset, p7:120345.')

export const execution = z
  .object({
    executionId: z.string(),
    tenant: z.string(),
    status: z.string().describe('running, paused, completed, failed, cancelled or terminated.'),
    currentState: z.string(),
    data: z.unknown().describe('JSON object; numbers keep every digit.'),
    lastSeq: z.int(),
    workflow: z.string().nullable(),
    version: z.string().nullable(),
    key: z.string().nullable(),
    correlationId: z.string().nullable(),
    result: z.unknown(),
    error: z.unknown(),
    openedAt: z.string().describe('Append time of the first accepted event.'),
    changedAt: z.string().describe('Append time of the newest accepted event.'),
    position,
  })
  .meta({ id: 'Execution' })

export const historyEvent = z
  .object({
    event_id: z.string(),
    tenant: z.string(),
    execution_id: z.string(),
    event_name: z.string(),
    event_type: z.string(),
    from_state: z.string().describe('As the fold computed it.'),
    to_state: z.string(),
    user_id: z.string().nullable(),
    payload: z.unknown().describe('As it was sent; null when none was.'),
    created_at: z.string(),
    seq: z.int(),
    position,
    appended_at: z.string(),
    decision: z.int().describe('0 = an input; else its number among the decisions.'),
    causation_id: z.string().nullable(),
    correlation_id: z.string().nullable(),
  })
  .meta({ id: 'Event' })

const verdict = z
  .enum(['pending', 'accepted', 'duplicate', 'conflict', 'late', 'early', 'quarantined'])
  .describe('pending until the recorder has judged it.')

export const outcome = z
  .union([
    z.object({
      status: z.literal('appended'),
      event_id: z.string(),
      execution_id: z.string(),
      position,
      verdict,
      seq: z.int().optional().describe('Its number in the execution; of an accepted event.'),
      reason: z.string().optional().describe('Why it is not accepted.'),
      detail: z.string().optional(),
    }),
    z.object({ status: z.literal('refused').describe('Not in the log.'), problem }),
    z.object({
      status: z.literal('unknown').describe('The log did not acknowledge it: send it again with this event_id.'),
      event_id: z.string(),
      execution_id: z.string(),
      problem,
    }),
  ])
  .meta({ id: 'Outcome' })

export const appendAnswer = z
  .object({
    appended: z.int(),
    refused: z.int(),
    unknown: z.int(),
    position: z.string().describe('Highest position of each partition; hand it to `minPosition` of a read.'),
    outcomes: z.array(outcome).describe('One for each item, in the order given.'),
  })
  .meta({ id: 'AppendAnswer' })

export const readyAnswer = z
  .object({
    status: z.enum(['ready', 'not-ready']),
    parts: z.record(z.string(), z.object({ ready: z.boolean(), detail: z.string().optional() })),
  })
  .meta({ id: 'Readiness' })

export const pastState = execution
  .omit({ lastSeq: true, openedAt: true, changedAt: true, position: true })
  .extend({ seq: z.int().describe('seq of the newest event in it; 0 before the first.'), isComplete: z.boolean() })
  .meta({ id: 'PastState' })

export const receipt = z
  .object({
    event_id: z.string(),
    execution_id: z.string(),
    verdict,
    seq: z.int().optional(),
    position: position.optional(),
    reason: z.string().optional(),
    detail: z.string().optional(),
    records: z
      .array(
        z.object({
          position,
          verdict,
          seq: z.int().optional(),
          reason: z.string().optional(),
          detail: z.string().optional(),
          appended_at: z.string(),
        }),
      )
      .describe('Every record that carried this id and is judged, in order of the log.'),
  })
  .meta({ id: 'Receipt' })

export const refusal = z
  .object({
    position,
    verdict,
    reason: z.string(),
    detail: z.string(),
    tenant: z.string().nullable(),
    execution_id: z.string().nullable(),
    event_id: z.string().nullable(),
    event_name: z.string().nullable(),
    appended_at: z.string(),
    decided_at: z.string(),
  })
  .meta({ id: 'Refusal' })

export const judged = z
  .object({
    position,
    verdict,
    seq: z.int().optional().describe('Its number in the execution; of an accepted event.'),
    reason: z.string().optional().describe('Why it is not accepted.'),
    detail: z.string().optional(),
    tenant: z.string().nullish(),
    execution_id: z.string().nullish(),
    event_id: z.string().nullish(),
    event_name: z.string().nullish(),
    appended_at: z.string().optional(),
    decided_at: z.string().optional(),
    record: z
      .object({ key: z.string().nullable(), value: z.string().nullable() })
      .optional()
      .describe('Key and value as they were, in base64; null where nothing is kept. Of records that were not accepted.'),
    redrivable: z.boolean().optional().describe('It can be appended again as it is.'),
  })
  .meta({ id: 'Judged' })

export const redriven = z
  .object({
    redriven: z.string().describe('Position of the record that was appended again; its verdict stays.'),
    position: z.string().describe('Position of the new record.'),
    verdict: verdict.optional().describe('Of the new record; absent when it proves to be of a tenant that is not yours.'),
    seq: z.int().optional(),
    reason: z.string().optional(),
    detail: z.string().optional(),
  })
  .meta({ id: 'Redriven' })

export const snapshot = z
  .object({
    seq: z.int().describe('seq of the newest event folded.'),
    foldVersion: z.int(),
    bytes: z.int().describe('Length of the state as JSON text in UTF-8.'),
    recordedUntil: z.string().describe('Newest append time of the events folded.'),
    createdUntil: z.string().describe('Newest created_at of the events folded.'),
    intact: z.boolean().describe('Its digest fits.'),
    usable: z.boolean().describe('Intact, and of the fold in use; replay passes others over.'),
  })
  .meta({ id: 'Snapshot' })

export const started = z
  .object({
    executionId: z.string(),
    workflow: z.string(),
    version: z.string(),
    event_id: z.string().describe('Id of its workflow.started; with the position, its receipt.'),
    position,
  })
  .meta({ id: 'Started' })

export const result = z
  .object({
    executionId: z.string(),
    status: z.string().describe('running, paused, completed, failed, cancelled or terminated.'),
    result: z.unknown().describe('What the function returned; null while it runs.'),
    error: z.unknown().describe('Why it failed or was cancelled.'),
    position: position.optional().describe('Of its newest event.'),
  })
  .meta({ id: 'Result' })

export const requested = z
  .object({ event_id: z.string(), executionId: z.string(), position, verdict: z.literal('pending') })
  .meta({ id: 'Requested' })

const failure = z.object({ name: z.string(), message: z.string(), code: z.string().optional(), retryable: z.boolean().optional() })

export const action = z
  .object({
    action: z.int().describe('Decision number of its action.scheduled.'),
    name: z.string(),
    queue: z.string().nullable(),
    key: z.string().nullable().describe("The author's idempotency key; null: the action's id."),
    guarantee: z.string(),
    status: z
      .enum(['running', 'backing-off', 'completed', 'failed', 'cancelled', 'abandoned'])
      .describe('abandoned: the execution ended before it did.'),
    attempt: z.int(),
    attempts: z.int().describe('The most its policy allows.'),
    scheduledAt: z.string(),
    requestedAt: z.string(),
    endedAt: z.string().nullable(),
    worker: z.string().nullable(),
    lastError: failure.nullable(),
    nextAttemptAt: z.string().nullable(),
    result: z.unknown().describe('As the worker told it, every digit; null until it is completed.'),
  })
  .meta({ id: 'Action' })

export const diagnosis = z
  .object({
    executionId: z.string(),
    status: z.string(),
    currentState: z.string(),
    cause: z.string().describe('One word of docs/workflows.md#diagnosis.'),
    summary: z.string(),
    evidence: z.record(z.string(), z.unknown()),
    byItself: z.string().describe('What happens without anybody doing anything, and when.'),
    youCan: z.array(z.string()),
    also: z.array(z.string()).describe('What else holds: ten of each cause, and how many more.'),
  })
  .meta({ id: 'Diagnosis' })

export const incident = z
  .object({
    id: z.string(),
    kind: z.string(),
    executionId: z.string().nullable(),
    partition: z.int().nullable(),
    summary: z.string(),
    evidence: z.record(z.string(), z.unknown()),
    openedAt: z.string(),
    closedAt: z.string().nullable(),
  })
  .meta({ id: 'Incident' })

export const projection = z
  .object({
    name: z.string(),
    version: z.int().describe('Of the newest code.'),
    liveGeneration: z.int().nullable(),
    previousGeneration: z.int().nullable().describe('What a rollback goes back to.'),
    stoppedAt: z.string().nullable(),
    generations: z.array(
      z.object({
        generation: z.int(),
        version: z.int(),
        state: z.string(),
        madeAt: z.string(),
        parked: z.array(z.string()).describe('Positions at which the code throws and this generation stands.'),
      }),
    ),
    lag: z.int().describe('Recorded events that the live generation has not folded yet.'),
    watermark: z.string().describe('Checkpoints of the live generation.'),
    parked: z.array(z.string()).describe('Positions at which its code throws and it stands; see incidents.'),
    tables: z.array(z.object({ name: z.string(), key: z.array(z.string()), columns: z.record(z.string(), z.string()), view: z.string() })),
    operation: z.string().nullable().describe('Id of the open operation.'),
    foldedBy: z
      .int()
      .nullable()
      .describe(
        'Processes of the last 30 s that fold the live generation; 0: it stands still. null: the recorder does, as with `derived`.',
      ),
  })
  .meta({ id: 'Projection' })

export const plan = z
  .object({
    projection: z.string(),
    records: z.int().describe('To be read, over all partitions.'),
    rate: z.int().nullable().describe('Records a second of the newest build; null: none is known.'),
    seconds: z.int().nullable().describe('About how long it takes at that rate.'),
    bytes: z.int().describe('Size of the live generation on disk, which is needed once more until one of them is retired.'),
    notSentAgain: z.string(),
    thenToDo: z.array(z.string()),
  })
  .meta({ id: 'RebuildPlan' })

export const operation = z
  .object({
    id: z.string(),
    projection: z.string(),
    kind: z.string(),
    generation: z.int().nullable(),
    state: z.string().describe('requested, building, comparing, ready, promoting, done, aborted or failed.'),
    reason: z.string(),
    progress: z
      .record(z.string(), z.unknown())
      .describe('done, total, rate a second, secondsLeft, parked (where), unfolded, behind (records; a build backs off for that).'),
    comparison: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe('Of the two generations at equal positions: differing rows, some of their keys.'),
    log: z.array(z.object({ at: z.string(), line: z.string() })),
    wanted: z.string().nullable(),
    requestedAt: z.string(),
    changedAt: z.string(),
    endedAt: z.string().nullable(),
  })
  .meta({ id: 'Operation' })

export const asked = z.object({ operation: z.string().nullable(), detail: z.string() }).meta({ id: 'Asked' })

/** An answer of type application/problem+json. */
const problemAnswer = (description: string) => ({ description, content: { 'application/problem+json': { schema: problem } } })

export const problems = {
  invalid: { 400: problemAnswer('The request is not valid.') },
  auth: { 401: problemAnswer('No valid token.') },
  forbidden: { 403: problemAnswer('It needs an operator’s token.') },
  missing: { 404: problemAnswer('There is no such thing, or it is not yours.') },
  behind: { 412: problemAnswer('The reads have not come to minPosition; `gap` says how far they are behind.') },
  ended: { 409: problemAnswer('The execution has ended, or has no function; for retry also: nothing backs off.') },
  unknown: { 409: problemAnswer('No version was named, and no runtime that runs registers the workflow.') },
  impossible: { 409: problemAnswer('Another operation is open, or this cannot be done as the projection stands.') },
  notAgain: { 409: problemAnswer('Too little of the record is kept, or it can never be accepted.') },
  conflict: { 422: problemAnswer('Something else is recorded under this Idempotency-Key.') },
  large: { 413: problemAnswer('The body is too large.') },
  away: { 503: problemAnswer('A server behind the API is away; Retry-After says when to ask again.') },
}
