// A seeded slice of the soak (npm run soak), on a stack of its own, since Postgres is stopped hard.

import t from 'tap'
import { FAULT_POINTS } from '../../faults.ts'
import { runSpine } from '../soak/spine.ts'
import { ownFolder } from '../support/own-stack.ts'
import { useStack } from '../support/stack.ts'

t.test(
  'each event counts once, though the recorder dies at every fault point and Postgres is stopped hard',
  { timeout: 600_000 },
  async (t) => {
    const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
    if (!stack.databaseUrl) return
    const folder = ownFolder(t)
    const report = await runSpine({
      folder,
      seed: 20_261_122,
      events: 15_000,
      executions: 1500,
      kills: 1,
      postgresStops: 1,
      rivalSeconds: 8,
      say: (line) => t.comment(line),
    })
    t.strictSame(report.faults, [])
    for (const point of FAULT_POINTS.filter((one) => one.startsWith('recorder:'))) {
      t.ok((report.hits[`${point} kill`] ?? 0) >= 1, `${point}: killed there`)
      t.ok((report.hits[`${point} throw`] ?? 0) >= 1, `${point}: failed there`)
    }
    t.ok(report.overtaken > 0, `the compare-and-set refused ${report.overtaken} times`)
    t.comment(JSON.stringify(report))
  },
)
