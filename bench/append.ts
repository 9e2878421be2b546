// POST /v1/events at 64 connections, until each event is safe in the log.

import { randomUUID } from 'node:crypto'
import { type Load, loadTurn, requestOf } from './load.ts'
import { type Bench, introduce, rate, say, takeTurns } from './measure.ts'
import { type Server, startApi, startBare } from './server.ts'

const CONNECTIONS = 64

const draft = (n: number) => ({
  execution_id: randomUUID(),
  event_name: 'order.checked',
  to_state: 'checked',
  payload: { step: n, amount: 12.5, currency: 'EUR', note: 'as agreed with the customer', checked: true },
})

function loadOf(url: string, eventsEach: number, seconds: number): Load {
  const bodies = Array.from({ length: 200 }, () => JSON.stringify(Array.from({ length: eventsEach }, (_, n) => draft(n))))
  return {
    connections: CONNECTIONS,
    seconds,
    status: 202,
    requests: bodies.map((body) => requestOf(url, 'POST', '/v1/events', body)),
  }
}

export const bench: Bench = async (ground, { rounds = 3, seconds = 5, size, only }) => {
  introduce(
    `REST append: POST /v1/events, ${CONNECTIONS} connections, each with one request at a time`,
    'events acknowledged by Kafka (acks=all, one broker: from its page cache) and answered; server and sender are two processes',
    'the recorder. Limit: Fastify, JSON.parse, avsc, micro-batched kafkajs, the same ids and positions in the answer, no tokens, no checks',
  )
  const [ours, limit] = [await startApi(ground), await startBare(ground)]
  for (const eventsEach of size === undefined ? [1, 100] : [size]) {
    say(`  ${eventsEach} events a request`)
    const turn = (server: Server) => {
      const load = loadOf(server.url, eventsEach, seconds)
      return () => loadTurn(server, load, eventsEach)
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
}
