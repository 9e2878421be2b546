// GET /v1/executions/{id} at 64 connections.

import { ourCatchUp } from './catch-up.ts'
import { manyEvents } from './events.ts'
import { fill } from './ground.ts'
import { type Load, loadTurn, requestOf } from './load.ts'
import { type Bench, introduce, rate, takeTurns } from './measure.ts'
import { type Server, startApi, startBare } from './server.ts'

const CONNECTIONS = 64

export const bench: Bench = async (ground, { events: count = 10_000, rounds = 3, seconds = 5, only }) => {
  introduce(
    `REST reads: GET /v1/executions/{id}, ${CONNECTIONS} connections, executions of ${count} events`,
    'answers a second, each read in a transaction that sees one tenant (row-level security), with watermark and lag',
    'the recorder, which is idle. Limit: Fastify and one prepared SELECT of the row, no token, no tenant, no watermark',
  )
  const events = manyEvents(count)
  await fill(ground, events)
  await ourCatchUp(ground, count)
  const ids = [...new Set(events.map((event) => event.execution_id))].slice(0, 1000)
  const [ours, limit] = [await startApi(ground), await startBare(ground)]
  const turn = (server: Server) => {
    const load: Load = {
      connections: CONNECTIONS,
      seconds,
      status: 200,
      requests: ids.map((id) => requestOf(server.url, 'GET', `/v1/executions/${id}`)),
    }
    return () => loadTurn(server, load)
  }
  await takeTurns(
    [
      { name: 'ours', turn: turn(ours) },
      { name: 'limit', turn: turn(limit) },
    ],
    rate,
    'higher',
    { rounds, only },
  )
}
