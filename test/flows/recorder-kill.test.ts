import t from 'tap'
import type { Summary } from '../../cli/import/run.ts'
import { dataFile, MAP_FILE } from '../../examples/permit-log/data.ts'
import { foldPermitLog } from '../examples/fold.ts'
import { digestOf, holdsFold, verdictsOf } from '../support/permit-log.ts'
import { type RefoldProcess, runRefold, startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

const KILLS = 10
const EVENTS = 8577

t.setTimeout(300_000)

t.test(`a recorder killed ${KILLS} times during an import leaves exactly what an undisturbed one does`, { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, 'token=tenant')
  // The shortest session: a killed member's partitions are free sooner.
  Object.assign(installation.env, { REFOLD_GROUP_SESSION: '1500', REFOLD_GROUP_HEARTBEAT: '300', REFOLD_RECORDER_BATCH: '100' })
  const { database } = installation
  const { url } = await startRefold(t, installation, 'api')
  const { path } = await dataFile(process.env)

  const recorded = async (): Promise<number> => {
    const { rows } = await database.admin.query<{ count: string }>('SELECT count(*) FROM refold.workflow_events')
    return Number(rows[0]?.count)
  }

  let recorder: RefoldProcess = await startRefold(t, installation, 'recorder')
  const env = { ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token' }
  const args = ['import', path, '--map', MAP_FILE, '--refused', `${t.testdirName}/refused`, '--json', '--batch', '100']
  const importing = runRefold(args, env)
  let importEnded = false
  void importing.then(() => (importEnded = true))

  for (let kill = 1; kill <= KILLS; kill++) {
    // At whatever line it is when this much is stored: spread over the import, which waits for verdicts and so cannot end before.
    const due = kill * Math.floor(EVENTS / (KILLS + 2))
    await until(async () => (await recorded()) >= due, { within: 60_000, what: `${due} recorded events` })
    await recorder.kill()
    t.notOk(importEnded, `kill ${kill} during the import, at ${await recorded()} events`)
    recorder = await startRefold(t, installation, 'recorder')
  }

  const { code, stdout, stderr } = await importing
  t.equal(code, 0, 'exit code', { stderr })
  const { counts } = JSON.parse(stdout) as Summary
  t.match(counts, { rows: EVENTS, accepted: EVENTS, duplicates: 0, conflicts: 0, refused: 0, pending: 0 })
  await holdsFold(t, { url, token: 'token' }, foldPermitLog(path))
  t.same(await verdictsOf(database), {}, 'nothing was judged twice')
  const { 'refold.workflow_events': audit } = await digestOf(database)
  t.equal(audit?.rows, EVENTS)
})
