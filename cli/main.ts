// The command line: which commands there are, and what a person sees of an error.

import { Command, CommanderError } from 'commander'
import { asError, RefoldError } from '../errors.ts'
import * as checkDeploy from './check-deploy.ts'
import * as demo from './demo.ts'
import * as dev from './dev.ts'
import * as doctor from './doctor.ts'
import * as events from './events.ts'
import * as executions from './executions.ts'
import * as incidents from './incidents.ts'
import * as importing from './import.ts'
import * as notifications from './notifications.ts'
import * as operations from './operations.ts'
import * as projections from './projections.ts'
import * as receipts from './receipts.ts'
import { endWithLauncher } from './signals.ts'
import * as stack from './stack.ts'
import * as start from './start.ts'
import * as verdicts from './verdicts.ts'

/** Each adds its commands; what they need is imported when one of them runs, so that `--help` is quick. */
const MODULES: readonly { register: (program: Command) => void }[] = [
  demo,
  stack,
  doctor,
  start,
  importing,
  events,
  executions,
  incidents,
  projections,
  operations,
  notifications,
  receipts,
  verdicts,
  checkDeploy,
  dev,
]

const program = new Command('refold')
  .description('Workflow event sourcing on Kafka: one durable log, folded into Postgres, replayed into workflows.')
  .showHelpAfterError('(--help shows what there is)')
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()

for (const { register } of MODULES) register(program)

/** Exit codes: 0 done, 1 failed, 2 not understood; others are a command's own. */
function exitCodeOf(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2
  const error = asError(thrown)
  const known = error instanceof RefoldError
  process.stderr.write(
    `refold: ${known ? error.message : `${error.message} (this is a mistake in Refold: REFOLD_LOG_LEVEL=debug shows where)`}\n`,
  )
  if (process.env['REFOLD_LOG_LEVEL'] === 'debug') console.error(error)
  return known && error.code === 'usage' ? 2 : 1
}

endWithLauncher()
try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
}
