// All reads over one pool: what REST is given as its port.

import { checkpointsNow } from './checkpoints.ts'
import { readHistory } from './events.ts'
import { readExecution, readExecutions } from './executions.ts'
import type { ReadPool } from './pool.ts'
import { readVerdicts } from './verdicts.ts'

export const createReads = (pool: ReadPool) => ({
  checkpoints: checkpointsNow.bind(undefined, pool),
  execution: readExecution.bind(undefined, pool),
  executions: readExecutions.bind(undefined, pool),
  history: readHistory.bind(undefined, pool),
  verdicts: readVerdicts.bind(undefined, pool),
})
