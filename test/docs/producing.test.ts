// docs/producing.md is true: its blocks are regions of files that run here, on real servers.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { z } from 'zod'
import { type Client, createClient } from '../../cli/client.ts'
import { fillBlocks, regionOf } from '../../docs/regions.ts'
import { usePython } from '../support/python.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { useStack } from '../support/stack.ts'

const DOCS = path.join(import.meta.dirname, '..', '..', 'docs')
const TOKEN = 'producing-token'

t.setTimeout(300_000)

const place = z.object({ execution_id: z.string(), event_id: z.string(), position: z.string() })
type Place = z.infer<typeof place>

const jsonLines = (text: string): unknown[] => text.split('\n').flatMap((line): unknown[] => (line === '' ? [] : [JSON.parse(line)]))

/** Runs a program to its end; gives its output, or rejects with what it said. */
function output(command: string, args: readonly string[], options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let [out, err] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
    child.once('error', reject)
    child.once('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${command} ended with ${code}: ${err}${out}`))))
  })
}

async function receiptOf(client: Client, { execution_id: execution, event_id: event, position }: Place): Promise<unknown> {
  const address = `v1/executions/${execution}/receipts/${event}`
  const { text } = await client.call(address, { query: { position }, headers: { prefer: 'wait=30' } })
  return JSON.parse(text)
}

void t.test('its blocks are what the files say', async (t) => {
  const page = readFileSync(path.join(DOCS, 'producing.md'), 'utf8')
  t.equal(page, fillBlocks(page, DOCS))
  t.notMatch(page, /```\w+\n```/, 'no block is empty')
  t.not(
    fillBlocks(page.replace('murmur2_random"', 'murmur2"'), DOCS),
    page.replace('murmur2_random"', 'murmur2"'),
    'a changed block is seen',
  )
  t.throws(() => regionOf('# region a\n# endregion\n', 'b'), /no region b/)
})

void t.test('what it prints runs, and is accepted', { timeout: 300_000 }, async (t) => {
  const addresses = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!addresses.databaseUrl) return
  const python = await usePython(t)
  if (!python) return
  const installation = await useInstallation(t, addresses, `${TOKEN}=demo`)
  const { url } = await startRefold(t, installation, 'api,recorder')
  const client = createClient({ url, token: TOKEN })
  const cwd = t.testdir()
  const topic = `${installation.env['REFOLD_TOPIC_PREFIX']}.events`
  const env: NodeJS.ProcessEnv = {
    ...installation.env,
    REFOLD_API_URL: url,
    REFOLD_API_TOKEN: TOKEN,
    TOPIC: topic,
  }
  const example = (name: string) => path.join(DOCS, 'examples', name)
  const execution = async (key: string) => {
    const { text } = await client.call('v1/executions', { query: { key } })
    const [only] = z.object({ executions: z.array(z.record(z.string(), z.unknown())) }).parse(JSON.parse(text)).executions
    return { text, only }
  }

  await t.test('curl', async (t) => {
    const text = await output('bash', [example('append.sh')], { cwd, env })
    const [appended, read, receipt, lines] = jsonLines(text)
    t.match(appended, { appended: 1, outcomes: [{ status: 'appended' }] })
    t.match(read, { currentState: 'placed', lastSeq: 1, key: '1000' })
    t.match(receipt, { verdict: 'accepted', seq: 1 })
    t.match(lines, {
      appended: 2,
      outcomes: [
        { verdict: 'accepted', seq: 2 },
        { verdict: 'accepted', seq: 1 },
      ],
    })
    t.match(text, '9007199254740993', 'numbers keep their digits')
  })

  await t.test('curl again: everything is a duplicate', async (t) => {
    const [, read, , lines] = jsonLines(await output('bash', [example('append.sh')], { cwd, env }))
    t.match(read, { currentState: 'paid', lastSeq: 2 })
    t.match(lines, { appended: 2, outcomes: [{ verdict: 'duplicate' }, { verdict: 'duplicate' }] })
  })

  await t.test('kafkajs', async (t) => {
    const sent = place.parse(JSON.parse(await output(process.execPath, [example('produce.ts')], { cwd, env })))
    t.match(await receiptOf(client, sent), { verdict: 'accepted', seq: 1 })
    const { text, only } = await execution('2000')
    t.match(only, { currentState: 'placed', executionId: sent.execution_id })
    t.match(text, '"customer":9007199254740993', 'numbers keep their digits')
  })

  const run = async (name: string) => {
    // It runs in this process's environment.
    for (const name of ['KAFKA_BROKERS', 'SCHEMA_REGISTRY_URL', 'TOPIC']) process.env[name] = env[name]
    return python.run(path.join('..', '..', '..', 'docs', 'examples', name), [], [])
  }

  await t.test('Python', async (t) => {
    const sent = place.parse((await run('produce.py'))[0])
    t.match(await receiptOf(client, sent), { verdict: 'accepted', seq: 1 })
    t.match((await execution('3000')).only, { currentState: 'placed', executionId: sent.execution_id })
  })

  await t.test('a field of your own: taken by the registry, and events that carry it are accepted', async (t) => {
    t.match(await run('evolve.py'), [{ id: Number }])
    const sent = place.parse(JSON.parse(await output(process.execPath, [example('produce.ts')], { cwd, env })))
    t.match(await receiptOf(client, sent), { verdict: 'accepted', seq: 2 })
  })

  await t.test('a field without a default is refused by the registry, with 409', async (t) => {
    const subject = `${addresses.registryUrl}/subjects/${topic}-value/versions`
    const latest = z.object({ schema: z.string() }).parse(await (await fetch(`${subject}/latest`)).json())
    const schema = z.looseObject({ fields: z.array(z.unknown()) }).parse(JSON.parse(latest.schema))
    schema.fields.push({ name: 'needed', type: 'string' })
    const answer = await fetch(subject, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify({ schema: JSON.stringify(schema) }),
    })
    t.equal(answer.status, 409)
  })
})
