// Load over HTTP: so many connections, each with one request at a time. Requests are bytes made beforehand and answers
// are only counted, so that the sender takes little of the machine it shares with the servers.

import { connect, type Socket } from 'node:net'
import { millis, percentile } from './measure.ts'
import { type Server, TOKEN } from './server.ts'

export type Load = { connections: number; seconds: number; status: number; requests: readonly Buffer[] }
type Loaded = { answers: number; perSecond: number; p50: number; p99: number }

export function requestOf(url: string, method: 'GET' | 'POST', path: string, body = ''): Buffer {
  const { host } = new URL(url)
  const headers = [`${method} ${path} HTTP/1.1`, `host: ${host}`, `authorization: Bearer ${TOKEN}`]
  if (method === 'POST') headers.push('content-type: application/json', `content-length: ${Buffer.byteLength(body)}`)
  return Buffer.from(`${headers.join('\r\n')}\r\n\r\n${body}`)
}

const HEAD_END = Buffer.from('\r\n\r\n')

/** Calls back with the status of each answer; both servers say their answers' length. */
function readAnswers(socket: Socket, answered: (status: number, head: string) => void): void {
  let rest = 0
  let pending = Buffer.alloc(0)
  let head = ''
  socket.on('data', (chunk) => {
    if (rest > 0) {
      rest -= chunk.length
      if (rest === 0) answered(Number(head.slice(9, 12)), head)
      return
    }
    pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    const end = pending.indexOf(HEAD_END)
    if (end < 0) return
    head = pending.toString('latin1', 0, end)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN)
    rest = length - (pending.length - end - HEAD_END.length)
    pending = Buffer.alloc(0)
    if (rest === 0) answered(Number(head.slice(9, 12)), head)
    else if (!(rest > 0)) socket.destroy(new Error(`an answer without a length, or more than asked for: ${head}`))
  })
}

/** A turn of a load: `count` things a request; says what the server took of the CPU, which neighbours change less. */
export async function loadTurn({ url, cpu }: Server, load: Load, count = 1): Promise<{ figure: number; also: string }> {
  const before = cpu()
  const { perSecond, answers, p50, p99 } = await runLoad(url, load)
  const after = cpu()
  const micros =
    before === undefined || after === undefined
      ? ''
      : `, ${((1000 * (after - before)) / (answers * count)).toFixed(0)} µs of server CPU each`
  return { figure: perSecond * count, also: `answer p50 ${millis(p50)}, p99 ${millis(p99)}${micros}` }
}

/** Runs a load to its end; rejects on any other status than the one expected. */
async function runLoad(url: string, { connections, seconds, status: wanted, requests }: Load): Promise<Loaded> {
  const { hostname, port } = new URL(url)
  const times: number[] = []
  let next = 0
  const began = performance.now()
  const until = began + seconds * 1000
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true })
      let sent = 0
      const send = () => {
        sent = performance.now()
        if (sent >= until) socket.end(resolve)
        else socket.write(requests[next++ % requests.length] ?? '')
      }
      socket.once('error', reject)
      socket.once('connect', send)
      socket.once('close', () => reject(new Error('the server closed the connection')))
      readAnswers(socket, (status, head) => {
        times.push(performance.now() - sent)
        if (status === wanted) send()
        else socket.destroy(new Error(`answered ${head}`))
      })
    })
  await Promise.all(Array.from({ length: connections }, one))
  const perSecond = (times.length * 1000) / (performance.now() - began)
  return { answers: times.length, perSecond, p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
}
