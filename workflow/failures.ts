// What a workflow function can catch, and how it is written into the log. Names and messages are content of decisions:
// the same at each replay, so no stack and nothing of this machine is in them.

import { isJsonObject } from './json.ts'

/** An action that will not be tried again. */
export class ActionFailed extends Error {
  override readonly name = 'ActionFailed'
  readonly action: string
  /** Name of the error that the last attempt ended with, and its code where it had one. */
  readonly errorName: string
  readonly code: string | undefined
  readonly attempts: number

  constructor(action: string, error: Failure, attempts: number) {
    super(`${action} failed after ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}: ${error.message}`)
    this.action = action
    this.errorName = error.name
    this.code = error.code
    this.attempts = attempts
  }
}

/** What the function waits on when the execution is cancelled. Uncaught, it ends the execution as cancelled. */
export class WorkflowCancelled extends Error {
  override readonly name = 'WorkflowCancelled'
}

/** A context call with something it can't take: the author's mistake, the same at each replay. */
export class InvalidCall extends Error {
  override readonly name = 'InvalidCall'
}

export type Failure = { name: string; message: string; code?: string; retryable?: boolean }

/** Characters kept of a message. */
const LONGEST = 4000

const tidy = (text: string) => text.replaceAll('\0', '\ufffd').slice(0, LONGEST).toWellFormed()

/** Anything thrown, as it is written into the log. */
export function failureOf(thrown: unknown): Failure {
  if (!(thrown instanceof Error)) return { name: 'Error', message: tidy(String(thrown)) }
  const code = 'code' in thrown && typeof thrown.code === 'string' ? { code: tidy(thrown.code) } : {}
  return { name: tidy(thrown.name), message: tidy(thrown.message), ...code }
}

/** What ended an attempt, as `failure` has it. It is tried again, unless it says no; what zod refused would be refused again. */
export function attemptFailure(thrown: unknown, failure = failureOf(thrown)): Failure {
  const isFinal = thrown instanceof Error && (('retryable' in thrown && thrown.retryable === false) || thrown.name === 'ZodError')
  return { ...failure, retryable: !isFinal }
}

/** The `error` of an outcome's payload, whatever it holds. */
export function readFailure(value: unknown): Failure {
  if (!isJsonObject(value)) return { name: 'Error', message: 'the outcome names no error' }
  const { name, message, code, retryable } = value
  return {
    name: typeof name === 'string' ? name : 'Error',
    message: typeof message === 'string' ? message : '',
    ...(typeof code === 'string' ? { code } : {}),
    retryable: retryable !== false,
  }
}
