// `refold import`: a CSV or NDJSON file into the log, through a map.

import { type Command, InvalidArgumentError } from 'commander'
import { asError, RefoldError } from '../errors.ts'
import type { ImportMap } from './import/map.ts'

type Options = {
  map: string
  parallel: number
  batch: number
  wait: number
  patience: number
  refused?: string
  dryRun?: boolean
  json?: boolean
}

const say = (line: string) => process.stdout.write(`${line}\n`)

const whole =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`it is a whole number from ${least} to ${most}.`)
    return value
  }

async function readMap(path: string): Promise<ImportMap> {
  const [{ readFile }, { parseMap }] = await Promise.all([import('node:fs/promises'), import('./import/map.ts')])
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new RefoldError('usage', `the map ${path} can't be read: ${asError(cause).message}`, { cause })
  })
  return parseMap(text)
}

/** Maps every row and sends none. */
async function dryRun(file: string, map: ImportMap): Promise<void> {
  const [{ openSource }, { createMapper }] = await Promise.all([import('./import/read.ts'), import('./import/item.ts')])
  const toItem = createMapper(map)
  const source = await openSource(file, map)
  let [read, faults] = [0, 0]
  for await (const row of source.rows) {
    const mapped = 'fault' in row ? row : toItem(row.cells)
    if ('json' in mapped && ++read <= 3) say(mapped.json)
    if ('fault' in mapped && ++faults <= 5) say(`line ${row.line}: ${mapped.fault}`)
  }
  const unseen = source.unseen()
  if (unseen.length > 0) say(`The map names columns that no row has: ${unseen.join(', ')}`)
  say(`${read} rows can be sent, ${faults} can not. Nothing was sent.`)
  if (faults > 0) process.exitCode = 1
}

async function run(file: string, options: Options): Promise<void> {
  const map = await readMap(options.map)
  if (options.dryRun) return dryRun(file, map)
  const [{ resolveApi }, { runImport }, { showProgress }, { allIn, reportOf }, { firstSignal }] = await Promise.all([
    import('./client.ts'),
    import('./import/run.ts'),
    import('./import/progress.ts'),
    import('./import/report.ts'),
    import('./signals.ts'),
  ])
  const stop = new AbortController()
  let view: { stop(): void } | undefined
  const onSignal = () => {
    process.stderr.write('\nFinishing the requests in flight; Ctrl-C again ends at once.\n')
    stop.abort()
  }
  void firstSignal().then(onSignal)
  try {
    const { wait, patience, parallel, batch } = options
    const summary = await runImport({
      file,
      map,
      target: { ...resolveApi(), wait, patience: patience * 1000 },
      parallel,
      batch,
      refusedPath: options.refused ?? `${file}.refused.ndjson`,
      stop: stop.signal,
      onStart: (now) => {
        view = showProgress(now, process.stderr)
      },
    })
    view?.stop()
    say(options.json ? JSON.stringify(summary, null, 2) : reportOf(file, summary))
    if (!summary.complete) process.exitCode = 130
    else if (!allIn(summary, wait > 0)) process.exitCode = 1
  } finally {
    view?.stop()
  }
}

export function register(program: Command): void {
  program
    .command('import')
    .description('send the rows of a CSV or NDJSON file, plain or .gz, as events')
    .argument('<file>', 'the file')
    .requiredOption('--map <map.json>', 'which column becomes which field; see examples/permit-log/map.json')
    .option('--parallel <count>', 'requests at a time; rows of one execution always go one after the other', whole(1, 64), 4)
    .option('--batch <rows>', 'rows in a request', whole(1, 10_000), 1000)
    .option('--wait <seconds>', 'how long the server may wait for verdicts; 0 asks for none', whole(0, 60), 60)
    .option('--patience <seconds>', 'without any answer for so long, the import stops', whole(1, 86_400), 300)
    .option('--refused <path>', 'where rows that do not get in are written (default: <file>.refused.ndjson)')
    .option('--dry-run', 'map all rows, show the first few, send none')
    .option('--json', 'the summary as JSON')
    .addHelpText(
      'after',
      `
Run it again at any time: the same rows give the same ids, so only what is missing is added.
Within an execution, events keep the order of the file.
The API is that of this clone, or REFOLD_API_URL with REFOLD_API_TOKEN.
Exit code: 0 all rows are in, 1 some are not, 130 stopped with Ctrl-C.`,
    )
    .action(run)
}
