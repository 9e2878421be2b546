// refold/testing: what authors' tests import.

export type { FakeCall } from './fakes.ts'
export { runWorkflow, type RunOptions, type SentEvent, type WorkflowRun } from './run-workflow.ts'
export { readHistory, replayHistory } from './replay-history.ts'
export { tryAll, type TryAllOptions } from './try-all.ts'
