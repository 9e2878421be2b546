// docs/library.md is true: its blocks are regions of a program that runs here, on real servers.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { fillBlocks } from '../../docs/regions.ts'
import * as library from '../../index.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

const DOCS = path.join(import.meta.dirname, '..', '..', 'docs')
const run = promisify(execFile)

t.test('its blocks are what the file says', async (t) => {
  const page = readFileSync(path.join(DOCS, 'library.md'), 'utf8')
  t.equal(page, fillBlocks(page, DOCS))
  t.notMatch(page, /```\w+\n\n?```/, 'no block is empty')
  for (const name of ['applyEvent', 'replayEvents', 'create', 'getByExecutionId', 'getByExecutionIdUntil', 'getByIdempotencyKey'])
    t.ok(page.includes(name) && (name in library || name === 'create'), name)
})

t.test('the program does what the page says', { timeout: 120_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (addresses.databaseUrl === undefined) return
  const installation = await useInstallation(t, addresses, 'secret=demo')
  await startRefold(t, installation, 'recorder')
  const { stdout } = await run(process.execPath, [path.join(DOCS, 'examples', 'library.ts')], { env: installation.env })
  const executionId = library.executionIdOf('demo', 'order', '3000')
  t.match(JSON.parse(stdout), {
    receipt: { execution_id: executionId, verdict: 'pending', position: /^p\d+:\d+$/ },
    history: [
      [1, 'order.placed'],
      [2, 'order.paid'],
    ],
    before: 1,
    now: { currentState: 'paid', isComplete: false, seq: 2, data: { paid: true } },
    placed: 'placed',
    counted: { snapshotSeq: 0, eventsRead: 2, batches: 1 },
    folded: 'paid',
  })
  t.match(stdout, '"total":9007199254740993')
})
