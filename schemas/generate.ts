// Writes schemas/generated.ts from schemas/*.avsc: a type and the schema's text for each. Run by `refold dev generate`;
// with --check it only compares, and exits 1 when the file is stale.

import { readFile, writeFile } from 'node:fs/promises'
import { format } from 'oxfmt'
import options from '../.oxfmtrc.json' with { type: 'json' }

type AvroType = string | AvroType[] | { type: AvroType }
type AvroRecord = { name: string; doc: string; fields: { name: string; type: AvroType }[] }

const HEADER = '// Generated from schemas/*.avsc by schemas/generate.ts. Do not edit; run `npm run refold -- dev generate`.'
const SOURCES = ['workflow-event', 'action-request']
const TARGET = new URL('generated.ts', import.meta.url)

const TYPES: Readonly<Record<string, string>> = { string: 'string', int: 'number', long: 'number', null: 'null', boolean: 'boolean' }

/** The TypeScript type of an Avro type; logical types stay as they are written: uuid a string, timestamp-millis a number. */
function typeOf(avro: AvroType): string {
  if (Array.isArray(avro)) {
    const branches = avro.map(typeOf)
    return [...branches.filter((branch) => branch !== 'null'), ...branches.filter((branch) => branch === 'null')].join(' | ')
  }
  if (typeof avro === 'object') return typeOf(avro.type)
  const type = TYPES[avro]
  if (type === undefined) throw new Error(`schemas/generate.ts has no TypeScript type for the Avro type ${avro}`)
  return type
}

function declarationOf(text: string): string {
  const schema = JSON.parse(text) as AvroRecord
  const fields = schema.fields.map(({ name, type }) => `${name}: ${typeOf(type)}`)
  return `/** ${schema.doc} */\nexport type ${schema.name} = {\n${fields.join('\n')}\n}`
}

/** The text that is registered: without its docs, so that a better wording is not a new version with a new id. */
function textOf(text: string): string {
  const { name } = JSON.parse(text) as AvroRecord
  const short = JSON.stringify(JSON.parse(text, (key, value: unknown) => (key === 'doc' ? undefined : value)))
  const constant = `${name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}_SCHEMA`
  return `/** Avro schema of ${name}, as it is registered: without its docs. */\nexport const ${constant} =\n  '${short}'`
}

/** The whole of generated.ts, as oxfmt leaves it. */
async function generate(): Promise<string> {
  const texts = await Promise.all(SOURCES.map((name) => readFile(new URL(`${name}.avsc`, import.meta.url), 'utf8')))
  const source = [HEADER, ...texts.map(declarationOf), ...texts.map(textOf)].join('\n\n')
  const { code, errors } = await format('generated.ts', source, { printWidth: options.printWidth, semi: options.semi, singleQuote: true })
  if (errors.length > 0) throw new Error(errors.map((error) => error.message).join('; '))
  return code
}

async function main(): Promise<void> {
  const code = await generate()
  if (!process.argv.includes('--check')) return writeFile(TARGET, code)
  if ((await readFile(TARGET, 'utf8')) === code) return undefined
  process.stderr.write('schemas/generated.ts is stale: run `npm run refold -- dev generate`\n')
  process.exitCode = 1
}

if (import.meta.main) await main()
