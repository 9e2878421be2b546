// Which event names are Refold's own, and in which role each may come. Part of the format.

/** Inputs Refold makes; each has a derived id, so that it can be accepted once only. */
const OWN_INPUTS = ['workflow.started', 'action.completed', 'action.attemptFailed', 'timer.fired'] as const

/** Inputs by which a person or a system asks something of an execution; their ids are the sender's. */
const REQUESTS = [
  'workflow.cancelRequested',
  'workflow.pauseRequested',
  'workflow.resumeRequested',
  'workflow.terminateRequested',
  'workflow.retryRequested',
] as const

/** What replaying a workflow function decides; `decision` is 1, 2, 3 … */
const DECISIONS = [
  'action.scheduled',
  'action.retried',
  'action.failed',
  'action.cancelled',
  'workflow.stateChanged',
  'workflow.dataUpdated',
  'timer.started',
  'timer.cancelled',
  'wait.started',
  'wait.satisfied',
  'workflow.completed',
  'workflow.failed',
  'workflow.cancelled',
] as const

export type OwnInputName = (typeof OWN_INPUTS)[number]
export type RequestName = (typeof REQUESTS)[number]
export type DecisionName = (typeof DECISIONS)[number]

const ownInputs: ReadonlySet<string> = new Set(OWN_INPUTS)
const requests: ReadonlySet<string> = new Set(REQUESTS)
const decisions: ReadonlySet<string> = new Set(DECISIONS)

export const isOwnInput = (name: string): name is OwnInputName => ownInputs.has(name)
export const isRequest = (name: string): name is RequestName => requests.has(name)
export const isDecision = (name: string): name is DecisionName => decisions.has(name)

/** True for names that begin with `workflow.`, `action.`, `timer.` or `wait.`; REST refuses them from outside. */
export function isReservedName(name: string): boolean {
  return name.startsWith('workflow.') || name.startsWith('action.') || name.startsWith('timer.') || name.startsWith('wait.')
}

const TERMINAL_STATES = ['completed', 'failed', 'cancelled', 'terminated'] as const
export type TerminalState = (typeof TERMINAL_STATES)[number]
const terminalStates: ReadonlySet<string> = new Set(TERMINAL_STATES)

/** True for a `to_state` that ends an execution without a function. */
export const isTerminalState = (state: string): state is TerminalState => terminalStates.has(state)
