// What of a contract's values goes through the log: the workflow writes parameters, a worker reads them and writes a result. Both as
// JSON, so neither need be what the schema gave; here is decided what is written, and what is refused, for workers and the kit alike.

import type { z } from 'zod'
import { isDeepStrictEqual } from 'node:util'
import type { WorkflowEvent } from '../schemas/generated.ts'
import type { Action, ScheduledPayload } from './action.ts'
import type { Failure } from './failures.ts'
import { checkEvent, LIMITS } from './limits.ts'

/** An attempt whose parameters or result its contract refuses. It would be refused again: no other attempt. */
class Refused extends Error {
  override readonly name: string
  readonly code = 'contract'
  readonly retryable = false

  constructor(name: 'ParametersInvalid' | 'ResultInvalid', message: string) {
    super(message)
    this.name = name
  }
}

/** Where and why, in a line: `lines.0.amount: Invalid input: …`. */
export const issuesOf = (error: z.ZodError, whole: string): string =>
  error.issues.map(({ path, message }) => `${path.join('.') || whole}: ${message}`).join('; ')

/** Whether the schema takes `value`, and, where `equal` is given, makes just that of it, as JSON. */
function gives({ parameters }: Action, value: unknown, equal?: unknown): boolean {
  try {
    const again = parameters.safeParse(value)
    return again.success && (equal === undefined || isDeepStrictEqual(JSON.parse(JSON.stringify(again.data) ?? 'null'), equal))
  } catch {
    return false // a transform that throws over its own output
  }
}

/**
 * The parameters to write: those the schema gave, so that a default stays what it was at the call, if parsing them again changes
 * nothing; else, as after a transform, those that were given. Both are as JSON holds them. What a worker does not take back fails
 * there and not here, since histories have such calls.
 */
export function writtenParameters(action: Action, given: unknown, parsed: unknown): unknown {
  if (isDeepStrictEqual(given, parsed) || gives(action, parsed, parsed)) return parsed
  return gives(action, given) ? given : parsed
}

/** What an implementation is handed. Throws where the contract, perhaps not the one of the call, does not take what was written. */
export function readParameters({ name, parameters }: Action, scheduled: Pick<ScheduledPayload, 'parameters'>): unknown {
  const read = parameters.safeParse(scheduled.parameters)
  if (read.success) return read.data
  const how =
    'parameters go through the log as JSON, and their schema must take them back from there (for a time z.iso.datetime() or z.coerce.date(), not z.date())'
  throw new Refused('ParametersInvalid', `${name}: ${issuesOf(read.error, 'parameters')}; ${how}`)
}

/** A result as JSON text. Throws where it is not the contract's. */
export function resultText({ name, result }: Action, value: unknown): string {
  const checked = result.safeParse(value)
  if (!checked.success) throw new Refused('ResultInvalid', `${name}: ${issuesOf(checked.error, 'result')}`)
  return JSON.stringify(checked.data ?? null)
}

/** Bytes of a record beside its payload, at most. */
const BESIDE = 4096

/** Why the log cannot hold a result: it would be quarantined or never written, and its execution wait for ever. */
export function resultFailure(completed: WorkflowEvent): Failure | undefined {
  const bytes = Buffer.byteLength(completed.payload ?? '')
  const most = LIMITS.payloadBytes - BESIDE
  const tooLarge = { reason: 'too-large', detail: `the outcome has ${bytes} bytes, at most ${most}` }
  const fault = bytes > most ? tooLarge : checkEvent(completed)
  if (!fault) return undefined
  return { name: 'ResultInvalid', code: fault.reason, message: `its result cannot be kept in the log: ${fault.detail}`, retryable: false }
}
