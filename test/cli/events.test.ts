// `refold events`, `receipts`, `verdicts` as a person runs them, against an HTTP server that answers as the API does.

import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { until } from '../support/wait.ts'

const MAIN = path.join(import.meta.dirname, '../../cli/main.ts')
const EXECUTION = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'

type Request = { method: string; url: string; headers: Record<string, string | string[] | undefined>; body: string }
type Answer = { status?: number; body: object | string; headers?: Record<string, string> }

async function fakeServer(t: Test, answer: (request: Request) => Answer) {
  const requests: Request[] = []
  const server = createServer((incoming, response) => {
    let body = ''
    incoming.setEncoding('utf8').on('data', (text: string) => (body += text))
    incoming.on('end', () => {
      const request = { method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers, body }
      requests.push(request)
      const { status = 200, body: told, headers = {} } = answer(request)
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(typeof told === 'string' ? told : JSON.stringify(told))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

function refold(t: Test, url: string, args: readonly string[], input = '') {
  const env = { ...process.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'secret' }
  const child = spawn(process.execPath, [MAIN, ...args], { env })
  t.teardown(() => child.kill('SIGKILL'))
  const told = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (told.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (told.stderr += text))
  child.stdin.end(input)
  const ended = new Promise<typeof told & { code: number | null }>((resolve) => child.once('close', (code) => resolve({ ...told, code })))
  return { child, told, ended }
}

const accepted = (n: number) => ({
  status: 'appended',
  event_id: `e${n}`,
  execution_id: EXECUTION,
  position: `p0:${n}`,
  verdict: 'accepted',
  seq: n,
})

t.test('one event is sent from options, its payload to the last digit', async (t) => {
  const { url, requests } = await fakeServer(t, () => ({ status: 202, body: { outcomes: [accepted(1)] } }))
  const payload = '{"big":9007199254740993,"fine":0.1234567890123456789}'
  const flags = ['--name', 'order.placed', '--workflow', 'order', '--key', 'o-1', '--to', 'placed', '--payload', payload]
  const { code, stdout } = await refold(t, url, ['events', 'send', ...flags, '--idempotency-key', 'k1']).ended
  t.equal(code, 0)
  t.same(JSON.parse(stdout), accepted(1))
  const [sent] = requests
  t.match(sent, { method: 'POST', url: '/v1/events', headers: { prefer: 'wait=5', 'idempotency-key': 'k1' } })
  t.equal(
    sent?.body,
    `[{"event_name":"order.placed","workflow_name":"order","business_key":"o-1","to_state":"placed","payload":${payload}}]`,
  )
})

t.test('NDJSON from standard input is sent as it is, in requests whose cut never changes', async (t) => {
  const { url, requests } = await fakeServer(t, ({ body }) => ({
    status: 202,
    body: { outcomes: body.split('\n').map((_, n) => accepted(n)) },
  }))
  const lines = Array.from({ length: 501 }, (_, n) => `{"event_name":"x","n":${n}}`)
  const { code, stdout } = await refold(t, url, ['events', 'send', '--wait', '0', '--idempotency-key', 'k'], `${lines.join('\n')}\n\n`)
    .ended
  t.equal(code, 0)
  t.equal(stdout.trim().split('\n').length, 501)
  t.strictSame(
    requests.map(({ body }) => body),
    [lines.slice(0, 500).join('\n'), lines[500]],
  )
  t.strictSame(
    requests.map(({ headers }) => headers['idempotency-key']),
    ['k', 'k#1'],
  )
  t.equal(requests[0]?.headers['prefer'], undefined)
})

t.test('an event that was refused or does not count fails the command, and is told', async (t) => {
  const problem = { type: 'urn:refold:problem:event-invalid', title: 'An event is not valid', detail: 'to_state: too long' }
  const late = { ...accepted(1), seq: undefined, verdict: 'late', reason: 'ended' }
  const { url } = await fakeServer(t, ({ body }) =>
    body.includes('bad')
      ? { status: 400, body: { ...problem, status: 400, outcomes: [{ status: 'refused', problem }] } }
      : { status: 202, body: { outcomes: [late] } },
  )
  const bad = await refold(t, url, ['events', 'send'], '{"event_name":"bad"}').ended
  t.equal(bad.code, 1)
  t.match(JSON.parse(bad.stdout), { status: 'refused', problem: { detail: 'to_state: too long' } })
  t.equal((await refold(t, url, ['events', 'send', '--name', 'x', '--execution', EXECUTION]).ended).code, 1)
})

t.test('what cannot be sent is said before anything is asked', async (t) => {
  const nowhere = 'http://127.0.0.1:9'
  t.match(await refold(t, nowhere, ['events', 'send', '--name', 'x', '--payload', '{']).ended, { code: 2, stderr: /not JSON/ })
  t.match(await refold(t, nowhere, ['events', 'send', '--to', 's'], '{}').ended, { code: 2, stderr: /to: for one event only/ })
  t.match(await refold(t, nowhere, ['events', 'send']).ended, { code: 2, stderr: /nothing came/ })
})

t.test('tail begins now, follows what comes, and tells at the end where to go on', async (t) => {
  const one = '{"seq":1,"payload":{"big":9007199254740993,"one":1.0}}'
  let asked = 0
  const { url, requests } = await fakeServer(t, () => {
    asked++
    if (asked === 1) return { body: { events: [], next: '', more: false }, headers: { 'refold-watermark': 'p0:5,p1:0' } }
    if (asked === 2) return { body: `{"events":[${one}],"next":"p0:9","more":true}` }
    if (asked === 3) return { status: 503, body: { type: 'urn:refold:problem:database-unavailable', title: 'Away', detail: 'gone' } }
    return { body: { events: [], next: 'p0:9', more: false } }
  })
  const { child, told, ended } = refold(t, url, ['events', 'tail'])
  await until(() => asked >= 5, { what: () => JSON.stringify({ asked, told }) })
  child.kill('SIGINT')
  const { code, stdout, stderr } = await ended
  t.equal(code, 0)
  t.equal(stdout, `${one}\n`)
  t.match(stderr, /Postgres does not answer: gone.*Waiting\.\nTo go on from here: --after p0:9\n$/s)
  t.strictSame(
    requests.slice(0, 4).map((request) => request.url),
    ['/v1/events?limit=1', '/v1/events?after=p0%3A4&limit=500', '/v1/events?after=p0%3A9&limit=500', '/v1/events?after=p0%3A9&limit=500'],
  )
})

t.test('tail without following ends where the log ends', async (t) => {
  const { url, requests } = await fakeServer(t, ({ url: asked }) => ({
    body: {
      events: [{ seq: asked.includes('after') ? 2 : 1 }],
      next: asked.includes('after') ? 'p0:2' : 'p0:1',
      more: !asked.includes('after'),
    },
  }))
  const { code, stdout } = await refold(t, url, ['events', 'tail', '--after', 'start', '--no-follow']).ended
  t.match({ code, stdout }, { code: 0, stdout: '{"seq":1}\n{"seq":2}\n' })
  t.equal(requests.length, 2)
})

t.test('each command asks its route', async (t) => {
  const { url, requests } = await fakeServer(t, () => ({ body: { position: 'p0:9' } }))
  for (const line of [
    `executions state ${EXECUTION} --seq 3`,
    `executions state ${EXECUTION} --at 2025-01-01T00:00:00Z`,
    `executions state ${EXECUTION} --recorded-at 2025-01-01T00:00:00Z`,
    `executions snapshots ${EXECUTION}`,
    `receipts show ${EXECUTION} e1 --position p0:1 --wait 10`,
    'verdicts list --verdict late --execution x --limit 5',
    'verdicts show p0:1',
    'verdicts redrive p0:1 p0:2 --wait 3',
  ])
    t.equal((await refold(t, url, line.split(' ')).ended).code, 0, line)
  const at = '2025-01-01T00%3A00%3A00Z'
  t.strictSame(
    requests.map((request) => `${request.method} ${request.url} ${String(request.headers['prefer'])}`),
    [
      `GET /v1/executions/${EXECUTION}/state?seq=3 undefined`,
      `GET /v1/executions/${EXECUTION}/state?at=${at} undefined`,
      `GET /v1/executions/${EXECUTION}/state?recordedAt=${at} undefined`,
      `GET /v1/executions/${EXECUTION}/snapshots undefined`,
      `GET /v1/executions/${EXECUTION}/receipts/e1?position=p0%3A1 wait=10`,
      'GET /v1/verdicts?limit=5&verdict=late&execution_id=x undefined',
      'GET /v1/verdicts/p0%3A1 undefined',
      'POST /v1/verdicts/p0%3A1/redrive wait=3',
      'POST /v1/verdicts/p0%3A2/redrive wait=3',
    ],
  )
})

t.test('a redrive that ends as before fails the command', async (t) => {
  const { url } = await fakeServer(t, () => ({
    status: 202,
    body: { redriven: 'p0:1', position: 'p0:2', verdict: 'late', reason: 'ended' },
  }))
  t.match(await refold(t, url, ['verdicts', 'redrive', 'p0:1']).ended, { code: 1, stdout: /"verdict":"late"/ })
})

t.test('the help of each command has an example', async (t) => {
  for (const line of [
    'executions state',
    'executions snapshots',
    'receipts show',
    'verdicts list',
    'verdicts show',
    'verdicts redrive',
    'events send',
    'events tail',
  ])
    t.match((await refold(t, '', [...line.split(' '), '--help']).ended).stdout, new RegExp(`Example:\n  refold ${line} `), line)
})
