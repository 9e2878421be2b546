// What an application imports.

export { RefoldError, type ErrorCode } from './errors.ts'
export type { WorkflowEvent } from './schemas/generated.ts'
export type { EventDraft } from './producers/events.ts'
export { openProducer, type OpenProducerOptions, type Producer, type Receipt } from './producers/open.ts'
export { createReadPool as openReads, type ReadPool } from './postgres/reads/pool.ts'
export {
  createStateCache,
  getByExecutionId,
  getByExecutionIdUntil,
  getByIdempotencyKey,
  replayEvents,
  type Replayed,
  type ReplayedEvent,
  type ReplayOptions,
  type StateCache,
} from './postgres/reads/replay.ts'
export { accept, BLANK_HEAD, type Head, inspect, type Verdict } from './workflow/accept.ts'
export { applyEvent, type ExecutionState, type ExecutionStatus, initial, isComplete } from './workflow/execution.ts'
export { eventIdOf, executionIdOf, NAMESPACE } from './workflow/ids.ts'
export { partitionOf } from './workflow/partition.ts'
export {
  type Action,
  type ActionContext,
  type ActionOptions,
  type ActionSql,
  defineAction,
  type Guarantee,
  type Isolation,
  type LineLog,
  type RetryPolicy,
} from './workflow/action.ts'
export { type App, type DatabaseContext, defineApp, implement, implementDatabase, type Implementation } from './workflow/app.ts'
export { ActionFailed, InvalidCall, WorkflowCancelled } from './workflow/failures.ts'
export { createReplay, type Divergence, type Replay } from './workflow/replay.ts'
export { defineWorkflow, type ReceivedEvent, type Workflow, type WorkflowContext } from './workflow/workflow.ts'
export {
  defineProjection,
  type FoldProjection,
  type HandledProjection,
  type Projection,
  type ProjectionTransaction,
} from './projections/define.ts'
export type { ProjectionEvent } from './projections/event.ts'
export { actionsByName, executionsByState } from './projections/shipped.ts'
