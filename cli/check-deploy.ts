// `refold check-deploy`: would this code go on with the executions that are open now? Asks over REST, writes nothing.

import type { Command } from 'commander'
import { z } from 'zod'
import { columns, example, openClient, print, segment } from './output.ts'
import { table } from './table.ts'
import type { Client } from './client.ts'

const page = z.object({
  executions: z.array(
    z.object({ executionId: z.string(), workflow: z.string().nullable(), version: z.string().nullable(), key: z.string().nullable() }),
  ),
  nextCursor: z.string().nullable(),
})
type Open = z.infer<typeof page>['executions'][number]

async function openOf(client: Client, status: string): Promise<Open[]> {
  const all: Open[] = []
  let cursor: string | undefined
  do {
    const got = await client.get('v1/executions', page, { status, limit: 500, cursor })
    all.push(...got.executions.filter(({ version }) => version !== null))
    cursor = got.nextCursor ?? undefined
  } while (cursor !== undefined)
  return all
}

/** Every event of an execution, as the server's JSON: an array. */
export async function historyOf(client: Client, executionId: string): Promise<string> {
  const { cutMember, elementsOf } = await import('../api/raw-json.ts')
  const events: string[] = []
  for (let after: number | null = 0; after !== null;) {
    const { text } = await client.call(`/v1/executions/${segment(executionId)}/events`, { query: { after, limit: 1000 } })
    const cut = cutMember(text, 'events')
    const found = elementsOf(cut.source ?? '[]')
    if ('elements' in found) events.push(...found.elements)
    after = z.object({ next: z.number().nullable() }).parse(JSON.parse(cut.rest)).next
  }
  return `[\n${events.join(',\n')}\n]`
}

type Options = { app: string; ignoreOthers?: boolean; json?: boolean }

/** Exit code; 1 and 2 say, as with all commands, that nothing could be checked. */
const MISFITS = 3

/** An execution that would not go on: `step` is null where the workflow is missing. */
type Misfit = Open & { step: number | null; why: string }

async function run({ app: file, ignoreOthers = false, json = false }: Options): Promise<void> {
  const [{ loadApp }, { replayHistory }] = await Promise.all([import('./start.ts'), import('../testing/replay-history.ts')])
  const app = await loadApp(file)
  const client = await openClient()
  const names = [...new Set(app.workflows.map(({ name }) => name))]
  const misfits: Misfit[] = []
  let checked = 0
  for (const open of [...(await openOf(client, 'running')), ...(await openOf(client, 'paused'))]) {
    const { executionId, workflow: name, version } = open
    if (ignoreOthers && !names.includes(name ?? '')) continue
    const workflow = app.workflows.find((one) => one.name === name && one.version === version)
    checked++
    if (!workflow) {
      const what = names.includes(name ?? '') ? 'version' : 'workflow'
      misfits.push({ ...open, step: null, why: `this application does not register the ${what}: keep a deployment that does` })
      continue
    }
    const misfit = await replayHistory(workflow, await historyOf(client, executionId))
    if (misfit) misfits.push({ ...open, step: misfit.step, why: `${misfit.reason}: expected ${misfit.expected}, got ${misfit.got}` })
  }
  if (misfits.length > 0) process.exitCode = MISFITS
  if (json) {
    print(JSON.stringify({ checked, workflows: names.length, misfits }, null, 2))
    return
  }
  const rows = misfits.map(({ executionId, workflow, version, key, step, why }) => [
    executionId,
    `${workflow} ${version}`,
    key ?? '',
    step === null ? '' : String(step),
    why,
  ])
  if (rows.length > 0) print(table(['EXECUTION', 'WORKFLOW', 'KEY', 'STEP', 'WHY'], rows, columns()))
  print(`${checked} open executions checked against ${names.length} workflows; ${rows.length} would not go on.`)
}

export function register(program: Command): void {
  program
    .command('check-deploy')
    .description('replay every open execution against the code of an application; exit code 3 if one would not go on')
    .requiredOption('--app <module>', 'the candidate: a module whose default export is defineApp(…)')
    .option('--ignore-others', 'leave out executions of workflows that it does not have: another deployment drives them')
    .option('--json', 'as JSON: checked, workflows, and misfits with executionId, workflow, version, key, step and why')
    .addHelpText('after', example('refold check-deploy --app ./app.ts', 'refold check-deploy --app ./app.ts --json'))
    .action(run)
}
