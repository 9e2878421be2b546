// Each command on a driven execution: what it asks of the API, and what a person reads. The routes are those of docs/rest.md, which its
// own test holds against the API.

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import t from 'tap'

const MAIN = path.join(import.meta.dirname, '../../cli/main.ts')
const ID = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
const TERMINAL = '--import=data:text/javascript,process.stdout.isTTY=true'
const run = promisify(execFile)

type Case = {
  argv: string[]
  /** Method, path, body, and how long it is waited for. */
  asks: [method: string, url: string, body?: unknown, prefer?: string]
  answers: object
  /** On a terminal. */
  says: RegExp
}

const ended = { executionId: ID, status: 'completed', result: { outcome: 'shipped' }, error: null }
const asked = { eventId: ID, position: 'p0:7' }
const because = { reason: 'by hand', user_id: 'ann' }
const of = `/v1/executions/${ID}`

const CASES: Case[] = [
  {
    argv: ['executions', 'start', 'order', '--version', '2', '--key', 'o-1', '--input', '{"n":9007199254740993}', '--user', 'ann'],
    asks: ['POST', '/v1/executions', '{"workflow":"order","version":"2","key":"o-1","user_id":"ann","input":{"n":9007199254740993}}'],
    answers: { executionId: ID, version: '2', position: 'p0:7' },
    says: /execution +0b8f1c7e.*\nversion +2\nposition +p0:7/,
  },
  {
    argv: ['executions', 'start', 'order', '--wait', '9'],
    asks: ['POST', '/v1/executions', { workflow: 'order', input: null }, 'wait=9'],
    answers: ended,
    says: /status +completed\nresult +\{\n +"outcome": "shipped"/,
  },
  {
    argv: ['executions', 'signal', ID, 'order.approved', '--payload', '{"by":"ann"}', '--user', 'ann', '--idempotency-key', 'k'],
    asks: [
      'POST',
      `${of}/events`,
      [{ event_name: 'order.approved', user_id: 'ann', idempotency_key: 'k', payload: { by: 'ann' } }],
      'wait=5',
    ],
    answers: { outcomes: [{ verdict: 'accepted' }] },
    says: /^sent, at p0:7: accepted/,
  },
  ...['pause', 'resume', 'cancel', 'terminate', 'retry'].map((verb): Case => ({
    argv: ['executions', verb, ID, '--reason', 'by hand', '--user', 'ann'],
    asks: ['POST', `${of}/${verb}`, because],
    answers: asked,
    says: /^asked, at p0:7/,
  })),
  {
    argv: ['executions', 'retry', ID, '--action', '7'],
    asks: ['POST', `${of}/retry`, { action: 7 }],
    answers: asked,
    says: /^asked, at p0:7/,
  },
  {
    argv: ['executions', 'result', ID, '--wait', '30'],
    asks: ['GET', `${of}/result`, undefined, 'wait=30'],
    answers: ended,
    says: /status +completed\nresult +\{\n +"outcome": "shipped"/,
  },
  {
    argv: ['executions', 'actions', ID, '--limit', '2', '--after', '3'],
    asks: ['GET', `${of}/actions?limit=2&after=3`],
    answers: {
      actions: [
        {
          action: 4,
          name: 'charge',
          status: 'backing-off',
          attempt: 2,
          attempts: 5,
          scheduledAt: '2026-01-01T00:00:00.000Z',
          endedAt: null,
          lastError: { message: '503' },
          nextAttemptAt: '2026-01-01T00:00:09.000Z',
        },
      ],
      next: 4,
    },
    says: /4 +charge +backing-off +2\/5 +2026-01-01T00:00:00.000Z +2026-01-01T00:00:09.000Z +503\n\nThere are more: --after 4/,
  },
  {
    argv: ['executions', 'diagnosis', ID],
    asks: ['GET', `${of}/diagnosis`],
    answers: {
      executionId: ID,
      status: 'running',
      currentState: 'paying',
      cause: 'action-backing-off',
      summary: 'charge failed',
      evidence: { action: 4 },
      byItself: 'tried again at 9',
      youCan: ['refold executions retry'],
      also: ['a timer is open'],
    },
    says: /cause +action-backing-off\nbecause +charge failed\nby itself +tried again at 9\nyou can\n +refold executions retry\nevidence\n +action +4\nalso\n +a timer is open/,
  },
  {
    argv: ['executions', 'export', ID],
    asks: ['GET', `${of}/events?after=0&limit=1000`],
    answers: { events: [{ seq: 1 }], next: null },
    says: /^\[\n\{"seq":1\}\n\]\n$/,
  },
  {
    argv: ['incidents', '--state', 'all', '--limit', '3'],
    asks: ['GET', '/v1/incidents?state=all&limit=3'],
    answers: {
      incidents: [
        { kind: 'diverged', executionId: ID, partition: null, summary: 'at step 2', openedAt: '2026-01-01T00:00:00.000Z', closedAt: null },
      ],
      nextCursor: null,
    },
    says: /2026-01-01T00:00:00.000Z +open +diverged +0b8f1c7e-.* +at step 2/,
  },
]

t.test('each command asks what it says, and prints the answer: for a person on a terminal, as it is elsewhere', async (t) => {
  const requests: { method: string | undefined; url: string | undefined; body: string; prefer: string | undefined }[] = []
  let answers = ''
  let status = 200
  const take = async (request: IncomingMessage, response: ServerResponse) => {
    const { method, url, headers } = request
    requests.push({ method, url, body: await text(request), prefer: headers['prefer'] as string | undefined })
    response.writeHead(status, { 'content-type': 'application/json', 'refold-position': 'p0:7' }).end(answers)
  }
  const server = createServer((request, response) => void take(request, response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const env = {
    PATH: process.env['PATH'],
    REFOLD_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    REFOLD_API_TOKEN: 'secret',
  }
  for (const { argv, asks, answers: given, says } of CASES) {
    const line = argv.join(' ')
    answers = JSON.stringify(given)
    // Taken, or done.
    status = asks[0] === 'POST' && given !== ended ? 202 : 200
    const elsewhere = await run(process.execPath, [MAIN, ...argv], { env })
    if (argv[1] !== 'export') t.equal(elsewhere.stdout, `${answers}\n`, line)
    const terminal = await run(process.execPath, [MAIN, ...argv], { env: { ...env, NODE_OPTIONS: TERMINAL } })
    t.match(terminal.stdout, says, line)
    const [method, url, body, prefer] = asks
    t.equal(requests.length, 2, line)
    for (const one of requests.splice(0)) {
      t.strictSame([one.method, one.url, one.prefer], [method, url, prefer], line)
      if (typeof body === 'string') t.equal(one.body, body, `${line}: its own text`)
      else t.strictSame(one.body === '' ? undefined : JSON.parse(one.body), body, line)
    }
  }
})
