// All reads over one pool: what REST is given as its port.

import { checkpointsNow } from './checkpoints.ts'
import { readEventsAfter, readHistory } from './events.ts'
import { readEnded, readExecution, readExecutions } from './executions.ts'
import type { ReadPool } from './pool.ts'
import {
  readGenerationSize,
  readOperation,
  readOperations,
  readProjection,
  readProjections,
  readRows,
  readRowsByKey,
  readSkips,
} from './projections.ts'
import { readContents, readReceipt } from './receipts.ts'
import { replayEvents, type ReplayOptions, type StateCache } from './replay.ts'
import { readSnapshots } from './snapshots.ts'
import { readIncidents, readProcesses, readStanding } from './standing.ts'
import { readActions, readOpenWork } from './work.ts'
import { readRefusals, readVerdict, readVerdicts } from './verdicts.ts'

export const createReads = (pool: ReadPool, cache?: StateCache) => ({
  actions: readActions.bind(undefined, pool),
  checkpoints: checkpointsNow.bind(undefined, pool),
  contents: readContents.bind(undefined, pool),
  ended: readEnded.bind(undefined, pool),
  eventsAfter: readEventsAfter.bind(undefined, pool),
  execution: readExecution.bind(undefined, pool),
  executions: readExecutions.bind(undefined, pool),
  generationSize: readGenerationSize.bind(undefined, pool),
  history: readHistory.bind(undefined, pool),
  incidents: readIncidents.bind(undefined, pool),
  openWork: readOpenWork.bind(undefined, pool),
  operation: readOperation.bind(undefined, pool),
  operations: readOperations.bind(undefined, pool),
  processes: readProcesses.bind(undefined, pool),
  projection: readProjection.bind(undefined, pool),
  projections: readProjections.bind(undefined, pool),
  receipt: readReceipt.bind(undefined, pool),
  refusals: readRefusals.bind(undefined, pool),
  rows: readRows.bind(undefined, pool),
  rowsByKey: readRowsByKey.bind(undefined, pool),
  skips: readSkips.bind(undefined, pool),
  snapshots: readSnapshots.bind(undefined, pool),
  standing: readStanding.bind(undefined, pool),
  state: (tenant: string, executionId: string, until: Pick<ReplayOptions, 'replayUntil' | 'recordedUntil'>) =>
    replayEvents(pool, executionId, tenant, until, cache),
  verdict: readVerdict.bind(undefined, pool),
  verdicts: readVerdicts.bind(undefined, pool),
})
