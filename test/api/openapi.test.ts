// /openapi.json is the truth: it names every route, and what the API answers fits it.

import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { EXECUTION } from '../support/events.ts'
import { fakeApi } from '../support/fake-api.ts'
import { recordedApi } from '../support/recorded-api.ts'
import { useStack } from '../support/stack.ts'

type Schema = Record<string, unknown>
type Content = Record<string, { schema: Schema }>
type Operation = {
  summary?: string
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema: Schema }[]
  requestBody?: { content: Content }
  responses: Record<string, { content?: Content }>
  security?: unknown[]
}
type Document = {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema>; securitySchemes: Record<string, Schema> }
}

const metrics = { contentType: 'text/plain', metrics: async () => '' }

/** `GET /v1/events`, … of the router's own tree, in the words of OpenAPI. HEAD comes with each GET. */
function routesOf(tree: string): string[] {
  const above: string[] = []
  return tree
    .split('\n')
    .filter((line) => line.trim() !== '')
    .flatMap((line) => {
      const [, indent = '', path = '', methods = ''] = /^([│├└─ ]*)(\S+) \(([A-Z, ]+)\)$/.exec(line) ?? []
      const depth = indent.length / 4 - 1
      above.length = depth
      above.push(path)
      const whole = above.join('').replaceAll(/:(\w+)/g, '{$1}')
      return methods
        .split(', ')
        .filter((method) => method !== 'HEAD')
        .map((method) => `${method} ${whole}`)
    })
    .toSorted()
}

const operationsOf = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, path, operation })),
  )

t.test('every route is in it, with summary, parameters and problems', async (t) => {
  const { app } = await fakeApi(t, { metrics })
  const document = (await app.inject('/openapi.json')).json<Document>()
  t.equal(document.openapi, '3.1.0')
  t.match(document.info, { title: 'Refold', version: String })
  const operations = operationsOf(document)
  t.strictSame(operations.map(({ name }) => name).toSorted(), routesOf(app.printRoutes({ commonPrefix: false })))
  for (const { name, path, operation } of operations) {
    t.match(operation.summary, /.{10}\.$/, `${name}: summary`)
    const { parameters = [], responses, security } = operation
    const inPath = parameters.filter((one) => one.in === 'path')
    t.strictSame(
      inPath.map((one) => one.name),
      [...path.matchAll(/\{(\w+)\}/g)].map(([, word]) => word),
      `${name}: parameters`,
    )
    t.ok(inPath.every(({ required }) => required === true))
    for (const one of parameters)
      t.ok(one.in === 'path' || one.description || one.schema['enum'] || one.name.endsWith('_id'), `${name}: ${one.name} is described`)
    if (!path.startsWith('/v1/')) {
      t.strictSame(security, [], `${name}: no token`)
      continue
    }
    const needed = ['400', '401', '503', ...(inPath.length > 0 && name !== 'POST /v1/executions/{executionId}/events' ? ['404'] : [])]
    for (const status of needed) t.ok(responses[status]?.content?.['application/problem+json'], `${name}: ${status}`)
  }
})

t.test('its schemas are JSON Schema 2020-12, each used by a route', async (t) => {
  const { app } = await fakeApi(t, { metrics })
  const { body } = await app.inject('/openapi.json')
  const { components } = JSON.parse(body) as Document
  const ajv = new Ajv2020({ strict: true, validateFormats: false, strictTypes: false })
  for (const [name, schema] of Object.entries(components.schemas)) {
    t.ok(ajv.validateSchema(schema), name)
    t.ok(body.includes(`#/components/schemas/${name}"`), `${name} is used`)
  }
  const unknown = [...body.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].filter(([, name = '']) => !components.schemas[name])
  t.strictSame(unknown, [])
})

t.test('/docs is the same as a page: every operation and shape, links that lead somewhere, no script', async (t) => {
  const { app } = await fakeApi(t, { metrics })
  const document = (await app.inject('/openapi.json')).json<Document>()
  const { headers, body } = await app.inject('/docs')
  t.match(headers, { 'content-type': /^text\/html/, 'content-security-policy': /default-src 'none'/ })
  for (const { name } of operationsOf(document)) t.ok(body.includes(`<code>${name}</code>`), name)
  const targets = new Set([...body.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))
  t.equal(targets.size, Object.keys(document.components.schemas).length)
  for (const [, target] of body.matchAll(/href="#([^"]+)"/g)) if (!targets.has(target ?? '')) t.fail(`#${target}`)
  t.notMatch(body, /<script|https?:\/\/(?!json-schema)/)
})

t.test('what the API answers fits it', async (t) => {
  const { databaseUrl } = useStack(t, ['postgres'])
  if (databaseUrl === undefined) return
  const { app, send, post, record, foreign } = await recordedApi(t, databaseUrl)
  const document = (await app.inject('/openapi.json')).json<Document>()
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema({ $id: 'refold', ...document })

  const eventId = '33333333-3333-4333-8333-333333333333'
  const event = { execution_id: EXECUTION, event_name: 'x', event_id: eventId, to_state: 's', payload: { big: 1 }, user_id: 'u' }
  await post('a', [...Array.from({ length: 20 }, (_, n) => ({ ...event, event_id: undefined, payload: n })), event, event])
  const garbage = foreign({ partition: 0, key: EXECUTION, value: new Uint8Array([1]) })
  await record()
  const conflict = (await post('a', [{ ...event, to_state: 'other' }])).json<{ position: string }>().position
  await record()
  const own = `/v1/executions/${EXECUTION}`
  const receipt = `${own}/receipts/${eventId}`
  const started = { workflow: 'w', version: '1', key: 'k', input: { big: 9007199254740993n.toString() } }
  const begun = await send('a', { method: 'POST', url: '/v1/executions', payload: started })
  const driven = `/v1/executions/${begun.json<{ executionId: string }>().executionId}`
  await record()

  const asked: [string, number, Parameters<typeof send>[1]][] = [
    ['GET /livez', 200, '/livez'],
    ['GET /readyz', 200, '/readyz'],
    ['GET /metrics', 200, '/metrics'],
    ['GET /openapi.json', 200, '/openapi.json'],
    ['GET /docs', 200, '/docs'],
    ['POST /v1/events', 202, { method: 'POST', url: '/v1/events', payload: [event, { event_name: 1 }] }],
    ['POST /v1/events', 400, { method: 'POST', url: '/v1/events', payload: [{ event_name: 1 }] }],
    ['POST /v1/executions/{executionId}/events', 202, { method: 'POST', url: `${own}/events`, payload: [{ event_name: 'x' }] }],
    ['GET /v1/events', 200, '/v1/events?limit=100'],
    ['GET /v1/events', 400, '/v1/events?after=x'],
    ['POST /v1/executions', 202, { method: 'POST', url: '/v1/executions', payload: started }],
    ['POST /v1/executions', 409, { method: 'POST', url: '/v1/executions', payload: { workflow: 'w' } }],
    ...['cancel', 'pause', 'resume'].map((verb): [string, number, Parameters<typeof send>[1]] => [
      `POST /v1/executions/{executionId}/${verb}`,
      202,
      { method: 'POST', url: `${driven}/${verb}`, payload: { reason: 'r' } },
    ]),
    ['POST /v1/executions/{executionId}/retry', 409, { method: 'POST', url: `${driven}/retry`, payload: {} }],
    ['POST /v1/executions/{executionId}/cancel', 409, { method: 'POST', url: `${own}/cancel` }],
    ['POST /v1/executions/{executionId}/terminate', 202, { method: 'POST', url: `${driven}/terminate` }],
    ['GET /v1/executions/{executionId}/result', 202, `${driven}/result`],
    ['GET /v1/executions/{executionId}/actions', 200, `${driven}/actions`],
    ['GET /v1/executions/{executionId}/diagnosis', 200, `${driven}/diagnosis`],
    ['GET /v1/stream', 400, '/v1/stream?after=x'],
    ['GET /v1/projections', 200, '/v1/projections'],
    ['GET /v1/projections/{name}', 404, '/v1/projections/none'],
    ['GET /v1/projections/{name}/rows', 404, '/v1/projections/none/rows'],
    ['GET /v1/projections/{name}/rows/{key}/provenance', 404, '/v1/projections/none/rows/k/provenance'],
    ['GET /v1/projections/{name}/changes', 404, '/v1/projections/none/changes'],
    ['POST /v1/projections/{name}/plan', 404, { method: 'POST', url: '/v1/projections/none/plan' }],
    ...['rebuild', 'reset', 'rollback', 'promote', 'abort', 'stop', 'start', 'retire', 'withdraw'].map(
      (verb): [string, number, Parameters<typeof send>[1]] => [
        `POST /v1/projections/{name}/${verb}`,
        404,
        { method: 'POST', url: `/v1/projections/none/${verb}` },
      ],
    ),
    ['POST /v1/projections/{name}/skip', 404, { method: 'POST', url: '/v1/projections/none/skip', payload: { reason: 'r' } }],
    ['GET /v1/operations', 200, '/v1/operations'],
    ['GET /v1/operations/{id}', 404, '/v1/operations/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a99'],
    ['GET /v1/incidents', 200, '/v1/incidents?state=all'],
    ['GET /v1/executions', 200, '/v1/executions?limit=1'],
    ['GET /v1/executions/{executionId}', 200, own],
    ['GET /v1/executions/{executionId}', 404, '/v1/executions/0b8f1c7e-5d1e-5c3a-9a44-2f1f6f0c9a99'],
    ['GET /v1/executions/{executionId}', 412, `${own}?minPosition=p0:99`],
    ['GET /v1/executions/{executionId}/events', 200, `${own}/events?limit=3`],
    ['GET /v1/executions/{executionId}/state', 200, `${own}/state?seq=3`],
    ['GET /v1/executions/{executionId}/snapshots', 200, `${own}/snapshots`],
    ['GET /v1/executions/{executionId}/receipts/{eventId}', 200, receipt],
    ['GET /v1/executions/{executionId}/receipts/{eventId}', 200, `${receipt}?position=p0:99`],
    ['GET /v1/verdicts', 200, '/v1/verdicts'],
    ['GET /v1/verdicts/{position}', 200, `/v1/verdicts/${garbage}`],
    ['GET /v1/verdicts/{position}', 200, '/v1/verdicts/p0:99'],
    ['POST /v1/verdicts/{position}/redrive', 202, { method: 'POST', url: `/v1/verdicts/${conflict}/redrive` }],
    ['POST /v1/verdicts/{position}/redrive', 404, { method: 'POST', url: '/v1/verdicts/p0:99/redrive' }],
  ]
  for (const [name, status, request] of asked) {
    const [method = '', path = ''] = name.split(' ')
    const answer = await send('a', request)
    t.equal(answer.statusCode, status, `${name} ${answer.body.slice(0, 200)}`)
    if (method === 'GET' && status === 200 && /^\/v1\/(events|executions|verdicts|incidents)/.test(path))
      t.match(answer.headers, { 'refold-watermark': /^p/, 'refold-lag': /^\d+$/ }, `${name} says how new it is`)
    const type = String(answer.headers['content-type']).split(';')[0] ?? ''
    const pointer = ['paths', path, method.toLowerCase(), 'responses', String(status), 'content', type, 'schema']
    const fragment = pointer.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')
    const valid = ajv.compile({ $ref: `refold#/${fragment}` })
    valid(type.endsWith('json') ? answer.json() : answer.body)
    t.strictSame(valid.errors, null, `${name} ${status}`)
  }
  t.strictSame(
    [...new Set(asked.map(([name]) => name))].toSorted(),
    operationsOf(document)
      .map(({ name }) => name)
      .toSorted(),
    'every operation was asked',
  )
})
