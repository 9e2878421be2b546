// GET /docs: /openapi.json as a page for people. Made here, without a script or anything from elsewhere.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'

type Schema = { $ref?: string; description?: string; type?: string | string[]; [key: string]: unknown }
type Parameter = { name: string; in: string; required?: boolean; description?: string; schema?: Schema }
type Content = Record<string, { schema?: Schema }>
type Operation = {
  tags?: string[]
  summary?: string
  parameters?: Parameter[]
  requestBody?: { content?: Content }
  responses?: Record<string, { description?: string; content?: Content }>
}
type Document = {
  info: { title: string; description?: string }
  paths?: Record<string, Record<string, Operation>>
  components?: { schemas?: Record<string, Schema> }
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (text: string) => text.replaceAll(/[&<>"]/g, (character) => ESCAPES[character] ?? character)
/** Words in backquotes as code. */
const prose = (text: string) => escaped(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>')

const nameOf = ($ref: string) => $ref.slice($ref.lastIndexOf('/') + 1)

/** A schema's JSON, with links to the shapes it names. */
const shape = (schema: Schema) =>
  `<pre>${escaped(JSON.stringify(schema, null, 2)).replaceAll(
    /&quot;#\/components\/schemas\/([\w.-]+)&quot;/g,
    (_, name: string) => `<a href="#shape-${name}">${name}</a>`,
  )}</pre>`

function contentHtml(content: Content = {}): string {
  return Object.entries(content)
    .map(([type, { schema = {} }]) => {
      const body = schema.$ref ? `<a href="#shape-${nameOf(schema.$ref)}">${nameOf(schema.$ref)}</a>` : shape(schema)
      return `<div><code>${escaped(type)}</code> ${body}</div>`
    })
    .join('')
}

const parameterRow = ({ name, in: place, required, description = '' }: Parameter) =>
  `<tr><td><code>${escaped(name)}</code></td><td>${escaped(place)}${required ? ', required' : ''}</td><td>${prose(description)}</td></tr>`

function operationHtml(method: string, path: string, { summary = '', parameters = [], requestBody, responses = {} }: Operation): string {
  const answers = Object.entries(responses).map(
    ([status, { description = '', content }]) =>
      `<tr><td><code>${status}</code></td><td>${prose(description === 'Default Response' ? '' : description)}${contentHtml(content)}</td></tr>`,
  )
  return `<details><summary><code>${method.toUpperCase()} ${escaped(path)}</code> ${prose(summary)}</summary>
${parameters.length > 0 ? `<table>${parameters.map(parameterRow).join('')}</table>` : ''}
${requestBody ? `<h4>Body</h4>${contentHtml(requestBody.content)}` : ''}
<h4>Answers</h4><table>${answers.join('')}</table></details>`
}

const STYLE = `body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{overflow:auto;max-height:30rem;background:#8881;padding:.6rem}
summary{cursor:pointer;padding:.3rem 0}details{border-bottom:1px solid #8884}table{border-collapse:collapse;margin:.5rem 0}
td{border-top:1px solid #8884;padding:.25rem .8rem .25rem 0;vertical-align:top}:root{color-scheme:light dark}`

/** The page; operations by their tag, then the shapes they name. */
export function docsPage({ info, paths = {}, components = {} }: Document): string {
  const byTag = new Map<string, string[]>()
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? 'other'
      byTag.set(tag, [...(byTag.get(tag) ?? []), operationHtml(method, path, operation)])
    }
  }
  const sections = [...byTag]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([tag, all]) => `<h2>${escaped(tag)}</h2>${all.join('')}`)
  const shapes = Object.entries(components.schemas ?? {}).map(
    ([name, schema]) => `<details id="shape-${escaped(name)}"><summary><code>${escaped(name)}</code></summary>${shape(schema)}</details>`,
  )
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(info.title)} API</title><style>${STYLE}</style>
<h1>${escaped(info.title)} API</h1><p>${prose(info.description ?? '')} As data: <a href="openapi.json">openapi.json</a>.</p>
${sections.join('\n')}<h2>Shapes</h2>${shapes.join('\n')}</html>`
}

export async function docsRoute(scope: FastifyInstance, { document }: { document: () => object }): Promise<void> {
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/docs',
    schema: {
      tags: ['api'],
      summary: 'This API as a page.',
      security: [],
      response: { 200: { description: 'HTML', content: { 'text/html': { schema: z.string() } } } },
    },
    handler: async (_request, reply) =>
      reply
        .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .type('text/html; charset=utf-8')
        .send(docsPage(document() as Document)),
  })
}
