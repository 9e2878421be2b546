// A schema registry that does not know yet what the real one behind it already does.

import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export type HiddenRegistry = { url: string; /** Schema ids that it answers 404 for. */ hidden: Set<number> }

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += String(chunk)
  return text
}

/** Hands everything on to the registry at `behind`, but for the hidden ids; closed with the test. */
export async function hiddenRegistry(t: Test, behind: string): Promise<HiddenRegistry> {
  const hidden = new Set<number>()
  const server = createServer((request, response) => {
    const answer = (status: number, text: string) => response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    const id = /^\/schemas\/ids\/(\d+)/.exec(request.url ?? '')?.[1]
    if (id !== undefined && hidden.has(Number(id))) {
      answer(404, JSON.stringify({ error_code: 40403, message: `Schema ${id} not found` }))
      return
    }
    const forward = async () => {
      const method = request.method ?? 'GET'
      const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' }
      const body = method === 'GET' ? {} : { body: await bodyOf(request) }
      const told = await fetch(`${behind}${request.url}`, { method, headers, ...body })
      answer(told.status, await told.text())
    }
    forward().catch((error: unknown) => answer(502, JSON.stringify({ message: String(error) })))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, hidden }
}
