import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import t, { type Test } from 'tap'
import { createEventCodec } from '../../schemas/codec.ts'
import { WORKFLOW_EVENT_SCHEMA } from '../../schemas/generated.ts'
import { createRegistry } from '../../schemas/registry.ts'
import { EVENT_FIELDS, schemaText } from '../support/avro.ts'
import { event } from '../support/events.ts'
import { useStack } from '../support/stack.ts'

type Reply = (request: IncomingMessage, response: ServerResponse) => void

/** A registry that says what the test tells it to, and the requests it got. */
async function fakeRegistry(t: Test, reply: Reply): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    reply(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

const json = (response: ServerResponse, status: number, body: unknown) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

const NOT_FOUND = { error_code: 40403, message: 'Schema 5 not found.' }

void t.test("S1: unknown is said only on the registry's own word, and remembered for a moment", async (t) => {
  const { url, asked } = await fakeRegistry(t, (_, response) => json(response, 404, NOT_FOUND))
  const registry = createRegistry({ url, forget: 60_000 })
  t.strictSame(await registry.lookup(5), { state: 'unknown' })
  t.strictSame(await registry.lookup(5), { state: 'unknown' })
  t.strictSame(asked, ['GET /schemas/ids/5'])
})

void t.test('S1: anything else that is no schema is registry-unavailable', async (t) => {
  const replies: Record<string, Reply> = {
    'a 404 of somebody else': (_, response) => json(response, 404, { message: 'no such page' }),
    'a page': (_, response) => response.writeHead(404).end('<html>'),
    'an error': (_, response) => json(response, 500, NOT_FOUND),
    'a schema that is none': (_, response) => json(response, 200, { schema: 5 }),
    nothing: (_, response) => json(response, 200, null),
    'a cut connection': (request) => request.socket.destroy(),
    'no answer': () => {},
  }
  for (const [what, reply] of Object.entries(replies)) {
    const { url } = await fakeRegistry(t, reply)
    await t.rejects(createRegistry({ url, timeout: 100 }).lookup(5), { code: 'registry-unavailable', retryable: true }, what)
  }
  const closed = await fakeRegistry(t, () => {})
  await t.rejects(createRegistry({ url: closed.url.replace(/\d+$/, '9') }).lookup(5), { code: 'registry-unavailable' }, 'nobody there')
})

void t.test('S2: compatibility is set before the first schema, and left alone when it is strict enough', async (t) => {
  const level: Record<string, number | string> = {}
  const { url, asked } = await fakeRegistry(t, (request, response) => {
    if (request.method === 'GET') return level['now'] ? json(response, 200, { compatibilityLevel: level['now'] }) : json(response, 404, {})
    return json(response, 200, { id: 3 })
  })
  t.equal(await createRegistry({ url }).register('a-value', '{}'), 3)
  level['now'] = 'FULL'
  t.equal(await createRegistry({ url }).register('a-value', '{}'), 3)
  level['now'] = 'NONE'
  t.equal(await createRegistry({ url }).register('a-value', '{}'), 3)
  const [get, put, post] = ['GET /config/a-value', 'PUT /config/a-value', 'POST /subjects/a-value/versions']
  t.strictSame(asked, [get, put, post, get, post, get, put, post])
})

void t.test('a registration that somebody else got in the way of is tried again', async (t) => {
  let refusals = 2
  const { url } = await fakeRegistry(t, (request, response) =>
    request.method === 'PUT' && refusals-- > 0
      ? json(response, 409, { message: "A rule named 'COMPATIBILITY' already exists." })
      : json(response, 200, { id: 3 }),
  )
  t.equal(await createRegistry({ url }).register('a-value', '{}'), 3)
})

void t.test('a schema that does not fit is schema-incompatible, at once', async (t) => {
  for (const status of [409, 422]) {
    const { url, asked } = await fakeRegistry(t, (request, response) =>
      json(response, request.method === 'POST' ? status : 200, { message: 'no default for tenant' }),
    )
    await t.rejects(createRegistry({ url }).register('a-value', '{}'), { code: 'schema-incompatible', message: /no default for tenant/ })
    t.equal(asked.filter((request) => request.startsWith('POST')).length, 1)
  }
})

void t.test('credentials in the address go into the header and into no message', async (t) => {
  let authorization: string | undefined
  const { url } = await fakeRegistry(t, (request, response) => {
    authorization = request.headers.authorization
    json(response, 500, {})
  })
  const registry = createRegistry({ url: url.replace('//', '//me:s%40cret@') })
  const refused: unknown = await registry.lookup(5).catch((error: unknown) => error)
  t.equal(authorization, `Basic ${Buffer.from('me:s@cret').toString('base64')}`)
  t.notMatch(String(refused), /s%40cret|s@cret/)
})

void t.test('on the real registry', async (t) => {
  const { registryUrl: url } = useStack(t, ['registry'])
  if (url === undefined) return
  const subject = `codec-${process.pid}-${Date.now()}-value`

  await t.test('many processes register at once: one id, and its text comes back', async (t) => {
    const ids = await Promise.all(Array.from({ length: 8 }, () => createRegistry({ url }).register(subject, WORKFLOW_EVENT_SCHEMA)))
    t.equal(new Set(ids).size, 1)
    t.strictSame(await createRegistry({ url }).lookup(ids[0] ?? 0), { state: 'found', text: WORKFLOW_EVENT_SCHEMA })
  })

  await t.test('a field without a default is refused, one with a default is not', async (t) => {
    const registry = createRegistry({ url })
    const added = { name: 'priority', type: 'int' }
    await t.rejects(registry.register(subject, schemaText([...EVENT_FIELDS, added])), { code: 'schema-incompatible' })
    t.type(await registry.register(subject, schemaText([...EVENT_FIELDS, { ...added, default: 0 }])), 'number')
  })

  await t.test('an id that was never given is unknown', async (t) => {
    t.strictSame(await createRegistry({ url }).lookup(2_147_483_647), { state: 'unknown' })
  })

  await t.test("the registry client of kafkajs and we read each other's records", async (t) => {
    const client = new SchemaRegistry({ host: url })
    const { id } = await client.register({ type: SchemaType.AVRO, schema: WORKFLOW_EVENT_SCHEMA }, { subject })
    const codec = createEventCodec({ schemaId: id })
    const given = event({ payload: '{"n":9007199254740993}', user_id: 'ü' })
    t.strictSame(codec.decode(await client.encode(id, given)), { state: 'event', event: given })
    t.same(await client.decode(codec.encode(given)), given)
  })
})
