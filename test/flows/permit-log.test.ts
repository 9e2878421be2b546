import t from 'tap'
import type { Summary } from '../../cli/import/run.ts'
import { dataFile, MAP_FILE } from '../../examples/permit-log/data.ts'
import { foldPermitLog } from '../examples/fold.ts'
import { digestOf, holdsFold, verdictsOf } from '../support/permit-log.ts'
import { runRefold, startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

const CASES = 1434
const EVENTS = 8577

t.setTimeout(300_000)

t.test('the permit log: imported, folded, read over REST; imported again, nothing changes', { timeout: 240_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!addresses.databaseUrl) return
  const installation = await useInstallation(t, addresses, 'first=made-up,second=given')
  const { database } = installation
  const { url } = await startRefold(t, installation, 'api,recorder')

  const importAs = async (token: string, file: string): Promise<Summary> => {
    const env = { ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: token }
    const { code, stdout, stderr } = await runRefold(
      ['import', file, '--map', MAP_FILE, '--refused', `${t.testdirName}/refused`, '--json'],
      env,
    )
    t.equal(code, 0, 'exit code', { stderr })
    return JSON.parse(stdout) as Summary
  }

  const madeUp = await dataFile({})
  const given = await dataFile(process.env)
  const logs = [{ token: 'first', ...madeUp }, ...(given.generated ? [] : [{ token: 'second', ...given }])]
  for (const { token, path, generated } of logs)
    await t.test(generated ? 'a generated log' : 'the log that REFOLD_DATA names', { timeout: 120_000 }, async (t) => {
      const { counts } = await importAs(token, path)
      t.match(counts, { rows: EVENTS, appended: EVENTS, accepted: EVENTS, duplicates: 0, conflicts: 0, refused: 0, pending: 0 })
      const expected = foldPermitLog(path)
      t.equal(expected.size, CASES)
      await holdsFold(t, { url, token }, expected)

      const before = await digestOf(database)
      const again = await importAs(token, path)
      t.match(again.counts, { rows: EVENTS, accepted: 0, duplicates: EVENTS, conflicts: 0, refused: 0, pending: 0 })
      t.same(await digestOf(database), before)
      t.same(Object.keys(await verdictsOf(database)), ['duplicate'])
    })
})
