// The process map of the permit log: which activity follows which, how often, and how long after. A handler in
// SQL: each case remembers its last activity in a row of its own, so that the next event knows what it follows.

import { defineProjection } from '../../index.ts'

// region map
export const processMap = defineProjection({
  name: 'process_map',
  version: 1,
  tables: {
    process_map: {
      columns: { activity: 'text', next_activity: 'text', times: 'bigint', seconds: 'double precision' },
      key: ['activity', 'next_activity'],
      view: 'sum',
    },
    process_map_last: { columns: { execution: 'uuid', activity: 'text', at: 'timestamptz' }, key: ['execution'] },
  },
  async handle(tx, events) {
    const moves = events.filter(({ toState }) => toState !== '')
    const batch = [
      moves.map(({ partition }) => partition),
      moves.map(({ tenant }) => tenant),
      moves.map(({ executionId }) => executionId),
      moves.map(({ toState }) => toState),
      moves.map(({ createdAt }) => new Date(createdAt)),
    ]
    const e = `unnest($1::int[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[]) WITH ORDINALITY
      AS e (partition, tenant, execution, activity, at, n)`
    await tx.query(
      `WITH e AS (
         SELECT e.*, lag(activity) OVER w AS before, lag(at) OVER w AS since FROM ${e} WINDOW w AS (PARTITION BY tenant, execution ORDER BY n)),
       steps AS (
         SELECT e.partition, e.tenant, coalesce(e.before, l.activity) AS before, e.activity, e.at - coalesce(e.since, l.at) AS took
         FROM e LEFT JOIN process_map_last l ON e.before IS NULL AND (l.tenant, l.execution, l.partition) = (e.tenant, e.execution, e.partition))
       INSERT INTO process_map AS m (partition, tenant, activity, next_activity, times, seconds)
       SELECT partition, tenant, before, activity, count(*), sum(extract(epoch FROM took)) FROM steps WHERE before IS NOT NULL GROUP BY 1, 2, 3, 4
       ON CONFLICT (tenant, activity, next_activity, partition)
       DO UPDATE SET times = m.times + excluded.times, seconds = m.seconds + excluded.seconds`,
      batch,
    )
    await tx.query(
      `INSERT INTO process_map_last (partition, tenant, execution, activity, at)
       SELECT DISTINCT ON (tenant, execution) partition, tenant, execution, activity, at FROM ${e} ORDER BY tenant, execution, n DESC
       ON CONFLICT (tenant, execution, partition) DO UPDATE SET activity = excluded.activity, at = excluded.at`,
      batch,
    )
  },
})
// endregion
