// The commands as a person runs them, against an HTTP server that answers as the API does.

import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const MAIN = path.join(import.meta.dirname, '../../cli/main.ts')
const run = promisify(execFile)

type Answer = { status: number; body: string; type?: string }

async function fakeApi(t: Test, answer: (url: string, token: string | undefined) => Answer): Promise<string> {
  const server = createServer((request, response) => {
    const { status, body, type = 'application/json' } = answer(request.url ?? '', request.headers.authorization)
    response.writeHead(status, { 'content-type': type }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function refold(url: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const env = { ...process.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'secret' }
  try {
    return { code: 0, ...(await run(process.execPath, [MAIN, 'executions', ...args], { env })) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

t.test('off a terminal the answer of the server is printed to the last digit', async (t) => {
  const body = '{"data":{"big":9007199254740993},"fine":0.1234567890123456789}'
  const asked: [string, string | undefined][] = []
  const url = await fakeApi(t, (path_, token) => {
    asked.push([path_, token])
    return { status: 200, body }
  })
  t.match(await refold(url, 'show', '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'), { code: 0, stdout: `${body}\n` })
  await refold(url, 'list', '--key', 'a b', '--correlation', 'g', '--limit', '7')
  await refold(url, 'events', '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01', '--after', '3')
  t.strictSame(asked, [
    ['/v1/executions/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01', 'Bearer secret'],
    ['/v1/executions?limit=7&key=a+b&correlation_id=g', 'Bearer secret'],
    ['/v1/executions/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01/events?after=3&limit=100', 'Bearer secret'],
  ])
})

t.test('a problem of the server is told with what to do, and fails the command', async (t) => {
  const problem = { type: 'urn:refold:problem:not-found', title: 'There is no such thing', status: 404, detail: 'no execution x' }
  const url = await fakeApi(t, () => ({ status: 404, body: JSON.stringify(problem), type: 'application/problem+json' }))
  const { code, stderr } = await refold(url, 'show', 'x')
  t.equal(code, 1)
  t.match(stderr, /^refold: There is no such thing: no execution x\. Check the id/)
})

t.test('an API that does not answer, or is none, is told', async (t) => {
  const nowhere = await refold('http://127.0.0.1:9', 'list')
  t.equal(nowhere.code, 1)
  t.match(nowhere.stderr, /REST API does not answer: no answer from .*REFOLD_API_URL/)
  const url = await fakeApi(t, () => ({ status: 502, body: '<html>Bad gateway</html>', type: 'text/html' }))
  t.match((await refold(url, 'list')).stderr, /it answered 502: <html>Bad gateway/)
})

t.test('an option that is not understood is refused before anything is asked', async (t) => {
  t.match(await refold('http://127.0.0.1:9', 'list', '--limit', 'many'), { code: 2, stderr: /whole number/ })
})

t.test('an event that does not count fails the command', async (t) => {
  const signal = async (outcome: object) =>
    refold(await fakeApi(t, () => ({ status: 202, body: JSON.stringify({ outcomes: [outcome] }) })), 'signal', 'x', 'order.approved')
  t.equal((await signal({ status: 'appended', verdict: 'accepted', seq: 3 })).code, 0)
  t.equal((await signal({ status: 'appended' })).code, 0)
  const late = await signal({ status: 'appended', verdict: 'late', reason: 'ended' })
  t.match(late, { code: 1, stdout: /"late"/ })
})

t.test('an execution that does not end well, or not in time, is exit code 1', async (t) => {
  const executionId = '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01'
  let status = 200
  let body: object = { executionId, status: 'completed', result: 1, error: null }
  const url = await fakeApi(t, () => ({ status, body: JSON.stringify(body) }))
  const start = () => refold(url, 'start', 'order', '--wait', '3')
  const result = () => refold(url, 'result', executionId)
  t.match([await start(), await result()], [{ code: 0 }, { code: 0 }])
  body = { executionId, status: 'failed', result: null, error: { message: 'no' } }
  t.match(
    [await start(), await result()],
    [
      { code: 1, stderr: '' },
      { code: 1, stderr: '' },
    ],
  )
  status = 202
  body = { executionId, status: 'running', result: null, error: null, position: 'p0:1', version: '1' }
  const late = await start()
  t.match(late, { code: 1, stderr: `not ended after 3 s; refold executions result ${executionId} --wait 3 waits on\n` })
  t.same(JSON.parse(late.stdout), body)
  t.match(await result(), { code: 0, stderr: '' }, 'nobody waited')
})

t.test('a retry that brings nothing forward fails the command, and says why', async (t) => {
  const detail = 'action 7 (solo) has failed for good, by attempt 1 of 1: no such account'
  const problem = { type: 'urn:refold:problem:retry-impossible', title: 'There is nothing to try again', status: 409, detail }
  const url = await fakeApi(t, () => ({ status: 409, body: JSON.stringify(problem), type: 'application/problem+json' }))
  const { code, stderr, stdout } = await refold(url, 'retry', '0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a01', '--action', '7')
  t.strictSame([code, stdout], [1, ''])
  t.match(stderr, /^refold: There is nothing to try again: action 7 \(solo\) has failed for good.*call the action anew/)
})
