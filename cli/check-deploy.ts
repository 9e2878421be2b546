// `refold check-deploy`: would this code go on with the executions that are open now? Writes nothing. Of the token's tenant, or of all.

import type { Command } from 'commander'
import type { Open } from './executions/open.ts'
import { columns, example, print } from './output.ts'
import { table } from './table.ts'

type Options = { app: string; allTenants?: boolean; ignoreOthers?: boolean; json?: boolean }

/** Exit code; 1 and 2 say, as with all commands, that nothing could be checked. */
const MISFITS = 3

type Misfit = Open & { step: number | null; why: string }

const counted = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`

/** More than so many are counted, not named. */
const NAMED = 5

function whose(tenants: readonly string[], all: boolean): string {
  if (all) return tenants.length === 0 || tenants.length > NAMED ? `all tenants (${tenants.length})` : `all tenants (${tenants.join(', ')})`
  return tenants.length === 0 ? 'the tenant of the token' : `tenant ${tenants.join(', ')}`
}

const OTHERS = 'Those of other tenants were not looked at: --all-tenants checks them too, with the database (DATABASE_URL).'

async function run({ app: file, allTenants = false, ignoreOthers = false, json = false }: Options): Promise<void> {
  const [{ loadApp }, { replayHistory }, { openOfAll, openOfToken }] = await Promise.all([
    import('./start.ts'),
    import('../testing/replay-history.ts'),
    import('./executions/open.ts'),
  ])
  const app = await loadApp(file)
  const names = [...new Set(app.workflows.map(({ name }) => name))]
  const misfits: Misfit[] = []
  const tenants = new Set<string>()
  let checked = 0
  const open = await (allTenants ? openOfAll() : openOfToken())
  try {
    for await (const { one, history } of open.each()) {
      tenants.add(one.tenant)
      if (ignoreOthers && !names.includes(one.workflow ?? '')) continue
      const workflow = app.workflows.find(({ name, version }) => name === one.workflow && version === one.version)
      checked++
      if (!workflow) {
        const what = names.includes(one.workflow ?? '') ? 'version' : 'workflow'
        misfits.push({ ...one, step: null, why: `this application does not register the ${what}: keep a deployment that does` })
        continue
      }
      const misfit = await replayHistory(workflow, await history())
      if (misfit) misfits.push({ ...one, step: misfit.step, why: `${misfit.reason}: expected ${misfit.expected}, got ${misfit.got}` })
    }
  } finally {
    await open.close()
  }
  if (misfits.length > 0) process.exitCode = MISFITS
  if (json) {
    print(JSON.stringify({ checked, workflows: names.length, allTenants, tenants: [...tenants], misfits }, null, 2))
    return
  }
  const rows = misfits.map(({ tenant, executionId, workflow, version, key, step, why }) => [
    tenant,
    executionId,
    `${workflow} ${version}`,
    key ?? '',
    step === null ? '' : String(step),
    why,
  ])
  if (rows.length > 0) print(table(['TENANT', 'EXECUTION', 'WORKFLOW', 'KEY', 'STEP', 'WHY'], rows, columns()))
  const what = `${counted(checked, 'open execution')} of ${whose([...tenants], allTenants)}`
  print(`${what} checked against ${counted(names.length, 'workflow')}; ${rows.length} would not go on.`)
  if (!allTenants) print(OTHERS)
}

const COVERED = `
Checked are the open executions of one tenant, whose token is used (REFOLD_API_TOKEN): no token sees more. --all-tenants checks
every open execution there is. For that it reads the database (DATABASE_URL, else the local stack's) as a role that may take
refold_engine and refold_api; it names the tenants it found.`

export function register(program: Command): void {
  program
    .command('check-deploy')
    .description("replay the open executions of the token's tenant, or of all, against an application; exit code 3 if one would not go on")
    .requiredOption('--app <module>', 'the candidate: a module whose default export is defineApp(…)')
    .option('--all-tenants', 'every open execution of every tenant, read from the database in place of REST')
    .option('--ignore-others', 'leave out executions of workflows that it does not have: another deployment drives them')
    .option(
      '--json',
      'as JSON: checked, workflows, allTenants, tenants, and misfits with tenant, executionId, workflow, version, key, step and why',
    )
    .addHelpText(
      'after',
      `${COVERED}\n${example('refold check-deploy --app ./app.ts', 'refold check-deploy --app ./app.ts --all-tenants')}`,
    )
    .action(run)
}
