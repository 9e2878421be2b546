// What a person asks of a projection (REST, commands): a row of refold.operations, which the projectors work off.

import type { Pool } from 'pg'
import type { Dropping } from '../consumers/operations.ts'
import { RefoldError } from '../errors.ts'
import { DERIVED } from './derived-tables.ts'
import { lockProjection, seeIncidents } from './operation-rows.ts'
import { inTransaction } from './pool.ts'

export type ProjectionRequests = {
  /** Opens an operation; gives its id. Errors: `not-found`, `operation-open`, `operation-impossible`. */
  open(projection: string, kind: 'rebuild' | 'reset' | 'rollback', reason: string): Promise<string>
  /** Of the open operation, whose log keeps the reason. */
  want(projection: string, what: 'promote' | 'abort', reason?: string): Promise<string>
  stop(projection: string, stopped: boolean): Promise<void>
  /**
   * The code of the newest version was taken back: that of the live generation is the newest again, until the other is deployed again.
   * Errors: `not-found`, `operation-open`, `operation-impossible`.
   */
  withdraw(projection: string): Promise<{ version: number; withdrawn: number }>
  /** Drops a generation that is not live. `busy`: nobody uses it any more, and its tables go once nobody reads them. */
  retire(projection: string, generation: number | undefined): Promise<{ generation: number; outcome: Dropping }>
  /** Lets a parked projection pass the event it stands at; gives the positions passed. */
  skip(projection: string, reason: string): Promise<readonly string[]>
}

type Stands = { live_generation: number | null; previous_generation: number | null; open: string | null; open_state: string | null }

/** `pool` connects as refold_engine; `drop` makes away with a generation. */
export function createProjectionRequests(
  pool: Pool,
  drop: (projection: string, generation: number) => Promise<Dropping>,
): ProjectionRequests {
  async function standing(projection: string): Promise<Stands> {
    const { rows } = await pool.query<Stands>(
      `SELECT p.live_generation, p.previous_generation, o.id AS open, o.state AS open_state FROM refold.projections p
       LEFT JOIN refold.operations o ON o.projection = p.name AND o.ended_at IS NULL WHERE p.name = $1`,
      [projection],
    )
    if (!rows[0]) throw new RefoldError('not-found', `no projection ${projection}`)
    return rows[0]
  }

  async function isOfOtherFold(generation: number | null): Promise<boolean> {
    const { rowCount } = await pool.query(
      `SELECT FROM refold.generations g JOIN refold.projections p ON p.name = g.projection AND p.version = g.version
       WHERE g.projection = $1 AND g.generation = $2`,
      [DERIVED, generation],
    )
    return rowCount === 0
  }

  return {
    async open(projection, kind, reason) {
      const { open, previous_generation: previous } = await standing(projection)
      if (open !== null) throw new RefoldError('operation-open', `operation ${open} of ${projection}`)
      const goesBack = kind === 'rollback'
      if (goesBack) {
        const { rowCount } = await pool.query(
          "SELECT FROM refold.generations WHERE projection = $1 AND generation = $2 AND state = 'following'",
          [projection, previous],
        )
        if (rowCount === 0) throw new RefoldError('operation-impossible', `${projection} has no earlier generation to go back to`)
        if (projection === DERIVED && (await isOfOtherFold(previous)))
          throw new RefoldError(
            'operation-impossible',
            `generation ${previous} of ${DERIVED} is of another fold version: no code that runs folds it`,
          )
      }
      const { rows } = await pool.query<{ id: string }>(
        `INSERT INTO refold.operations (projection, kind, state, reason, generation) VALUES ($1, $2, 'requested', $3, $4)
         ON CONFLICT DO NOTHING RETURNING id`,
        [projection, kind, reason, goesBack ? previous : null],
      )
      if (!rows[0]) throw new RefoldError('operation-open', `one of ${projection} was opened just now`)
      return rows[0].id
    },
    async want(projection, what, reason) {
      const { open, open_state: state } = await standing(projection)
      if (open === null) throw new RefoldError('operation-impossible', `no operation of ${projection} is open`)
      if (what === 'promote' && state !== 'ready')
        throw new RefoldError('operation-impossible', `operation ${open} is ${state}: it can be promoted once it is ready`)
      // Who gives up is heard first, whoever asks for what at the same time.
      const { rowCount } = await pool.query(
        `UPDATE refold.operations SET wanted = $2, changed_at = now(), log = CASE WHEN $3::text IS NULL THEN log
           ELSE (log::jsonb || jsonb_build_array(jsonb_build_object('at', now(), 'line', $2 || ' was asked for: ' || $3::text)))::json END
         WHERE id = $1 AND ended_at IS NULL AND ($2 = 'abort' OR wanted IS DISTINCT FROM 'abort')`,
        [open, what, reason ?? null],
      )
      if (rowCount === 0) throw new RefoldError('operation-impossible', `operation ${open} is over, or was asked to be given up`)
      return open
    },
    async stop(projection, stopped) {
      if (projection === DERIVED)
        throw new RefoldError(
          'operation-impossible',
          `${DERIVED} is the recorder's: it stops and starts with the processes of role recorder`,
        )
      await standing(projection)
      await pool.query('UPDATE refold.projections SET stopped_at = CASE WHEN $2 THEN coalesce(stopped_at, now()) END WHERE name = $1', [
        projection,
        stopped,
      ])
    },
    async withdraw(projection) {
      if (projection === DERIVED)
        throw new RefoldError(
          'operation-impossible',
          `${DERIVED} is the recorder's: its version is Refold's own; deploy recorders of the newest version that ran`,
        )
      // A deployment, or an operation that makes its generation, is before this or after it.
      const withdrawn = await inTransaction(pool, async (client) => {
        await lockProjection(client, projection)
        const { rows } = await client.query<{ version: number; withdrawn: number }>(
          `UPDATE refold.projections p SET version = g.version, changed_at = now()
           FROM refold.generations g JOIN refold.projections old ON old.name = g.projection
           WHERE p.name = $1 AND g.projection = p.name AND g.generation = p.live_generation AND g.version < p.version
             AND NOT EXISTS (SELECT FROM refold.operations o WHERE o.projection = p.name AND o.ended_at IS NULL)
           RETURNING g.version, old.version AS withdrawn`,
          [projection],
        )
        return rows[0]
      })
      if (withdrawn) return withdrawn
      const { open } = await standing(projection)
      if (open !== null) throw new RefoldError('operation-open', `operation ${open} of ${projection}`)
      throw new RefoldError(
        'operation-impossible',
        `the version of the live generation of ${projection} is the newest: none that is newer was deployed`,
      )
    },
    async retire(projection, given) {
      const { previous_generation: previous, live_generation: live, open } = await standing(projection)
      const generation = given ?? previous
      if (generation === null) throw new RefoldError('operation-impossible', `${projection} has no generation beside the live one`)
      if (generation === live) throw new RefoldError('operation-impossible', `generation ${generation} of ${projection} is live`)
      if (open !== null) throw new RefoldError('operation-open', `operation ${open} of ${projection}`)
      const { rowCount } = await pool.query(
        "SELECT FROM refold.generations WHERE projection = $1 AND generation = $2 AND state <> 'retired'",
        [projection, generation],
      )
      if (rowCount === 0) throw new RefoldError('not-found', `no generation ${generation} of ${projection}`)
      return { generation, outcome: await drop(projection, generation) }
    },
    async skip(projection, reason) {
      await standing(projection)
      return inTransaction(pool, async (client) => {
        await seeIncidents(client)
        const { rows } = await client.query<{ partition: number; generation: number; offset: string }>(
          `SELECT i.partition, g.generation, i.evidence ->> 'offset' AS offset FROM refold.incidents i
           JOIN refold.generations g ON g.projection = $1 AND g.generation = (i.evidence ->> 'generation')::int AND g.state <> 'retired'
           WHERE i.kind = 'projection-parked' AND i.closed_at IS NULL AND i.evidence ->> 'projection' = $1
           ORDER BY i.partition, g.generation`,
          [projection],
        )
        if (rows.length === 0) throw new RefoldError('operation-impossible', `${projection} is not parked`)
        for (const { partition, generation, offset } of rows)
          await client.query(
            `INSERT INTO refold.projection_skips (projection, generation, partition, log_offset, reason) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING`,
            [projection, generation, partition, Number(offset), reason],
          )
        return [...new Set(rows.map(({ partition, offset }) => `p${partition}:${offset}`))]
      })
    },
  }
}
