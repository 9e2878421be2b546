// A POST /v1/events that keeps what it gets, and fails as it is told to.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asError } from '../../../errors.ts'

export type Sent = { execution: string; key: string; item: Record<string, unknown>; text: string }

/** What to do with a request, before or instead of the normal answer. */
export type Mood = 'answer' | 'lose-answer' | 'unavailable' | 'too-many' | 'unacknowledged' | 'refuse-all'

export type FakeIntake = {
  url: string
  /** Accepted items in the order they came. */
  accepted: Sent[]
  requests: number
  /** Most requests open at one time. */
  mostOpen: number
  close(): Promise<void>
}

export type FakeOptions = {
  mood?: (request: number) => Mood
  /** An item's verdict, instead of accepted or duplicate. */
  verdict?: (item: Record<string, unknown>) => string | undefined
  /** Called with each request before it is answered; a promise holds the answer back. */
  hold?: (request: number) => Promise<unknown> | undefined
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8') as AsyncIterable<string>) body += chunk
  return body
}

function reply(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': status < 300 ? 'application/json' : 'application/problem+json', ...headers })
  response.end(JSON.stringify(body))
}

const problem = (status: number, title: string) => ({ type: 'urn:refold:problem:test', title, status, detail: 'told to' })

export async function startFakeIntake({ mood, verdict, hold }: FakeOptions = {}): Promise<FakeIntake> {
  const seen = new Map<string, string>()
  let open = 0
  const api: FakeIntake = { url: '', accepted: [], requests: 0, mostOpen: 0, close: async () => undefined }

  const judge = (text: string) => {
    const item = JSON.parse(text) as Record<string, unknown>
    const execution = `${String(item['workflow_name'])}/${String(item['business_key'])}`
    const key = String(item['idempotency_key'])
    const told = verdict?.(item)
    if (told === 'refused') return { status: 'refused', problem: problem(400, 'An event is not valid') }
    const id = `${execution} ${key}`
    const known = seen.get(id)
    if (told === undefined && known === undefined) {
      seen.set(id, text)
      api.accepted.push({ execution, key, item, text })
    }
    const found = known === undefined ? 'accepted' : known === text ? 'duplicate' : 'conflict'
    return { status: 'appended', event_id: id, execution_id: execution, position: 'p0:1', verdict: told ?? found, reason: 'test' }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse, count: number) => {
    const items = (await bodyOf(request)).split('\n').filter((line) => line !== '')
    await hold?.(count)
    const now = mood?.(count) ?? 'answer'
    if (request.headers.authorization !== 'Bearer secret') return reply(response, 401, problem(401, 'The request carries no valid token'))
    if (now === 'unavailable') return reply(response, 503, problem(503, 'Away'), { 'retry-after': '0' })
    if (now === 'too-many') return reply(response, 429, problem(429, 'Slower'))
    if (now === 'refuse-all')
      return reply(response, 400, {
        ...problem(400, 'None is valid'),
        outcomes: items.map(() => ({ status: 'refused', problem: problem(400, 'An event is not valid') })),
      })
    if (now === 'unacknowledged') {
      // The first half is in, of the rest nobody knows.
      const half = Math.ceil(items.length / 2)
      const unknown = { status: 'unknown', event_id: '', execution_id: '', problem: problem(503, 'The log does not answer') }
      return reply(response, 202, { outcomes: items.map((text, i) => (i < half ? judge(text) : unknown)) })
    }
    const outcomes = items.map(judge)
    if (now === 'lose-answer') return void response.destroy()
    return reply(response, 202, { appended: outcomes.length, refused: 0, outcomes })
  }

  const server = createServer((request, response) => {
    const count = ++api.requests
    api.mostOpen = Math.max(api.mostOpen, ++open)
    void handle(request, response, count)
      .catch((error: unknown) => response.destroy(asError(error)))
      .finally(() => open--)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  api.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  api.close = () =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return api
}
