// docs/consuming.md and docs/notifications.md: their lines are run as they stand beside examples/order-fulfilment, on real servers,
// and each gives rows or entries.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { listDeadLetters, registerConsumer } from '../../reader/index.ts'
import { startRefold, useInstallation } from '../support/refold-process.ts'
import { restOf } from '../support/rest.ts'
import { useStack } from '../support/stack.ts'
import { until } from '../support/wait.ts'

t.setTimeout(300_000)

const ROOT = path.join(import.meta.dirname, '..', '..')
const APP = path.join(ROOT, 'examples', 'order-fulfilment', 'app.ts')
const JSON_BODY = { 'content-type': 'application/json' }

/** The lines of a page's blocks of this language, each whole. */
function linesOf(page: string, language: string): string[] {
  const text = readFileSync(path.join(ROOT, 'docs', page), 'utf8')
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].flatMap(([, block = '']) =>
    block.replaceAll('\\\n', ' ').trim().split('\n'),
  )
}

/** What each line prints, by how it begins; into a pipe the commands print JSON. */
const PRINTS: Readonly<Record<string, RegExp>> = {
  'projection rows': /"rows":\[\{.*"state" ?: ?"paying"/s,
  '/rows?state=paying': /"rows":\[\{.*"state" ?: ?"paying"/s,
  '/v1/events?': /"events":\[\{.*"event_name":"workflow.started"/s,
  'projection provenance': /"steps":\[\{.*"event_name":"action.completed".*"completed":\{"from"/s,
  '/changes': /^event: row$.*^data: \{.*"action" ?: ?"reserve_stock"/ms,
  '/v1/stream': /^data: \{.*"event_name":"workflow.started"/m,
  'notifications tail': /"eventName":"workflow.started"/,
  'notifications groups': /"name":"shipping"/,
  'dlq list': /"errorMessage":"the printer is out of paper"/,
  'dlq view': /"fields":\["event_id"/,
  'dlq redrive': /"entry":"\d+-\d+"/,
}

t.test('every line gives something', async (t) => {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return
  const installation = await useInstallation(t, stack, 'token=demo')
  const { env, database } = installation
  const stream = 'workflow:events:global:docs'
  env['REFOLD_NOTIFICATION_STREAM'] = stream
  const redis = new Redis(String(env['REDIS_URL']))
  t.teardown(async () => {
    const ours = await redis.keys(`${stream}*`)
    if (ours.length > 0) await redis.del(...ours)
    redis.disconnect()
  })
  const { url } = await startRefold(t, installation, 'api,recorder,runtime,worker,projector,notifier', { app: APP })
  const rest = restOf(url, 'token')
  const consumer = await registerConsumer(
    stream,
    async ({ eventName }) => {
      if (eventName === 'workflow.completed') throw new Error('the printer is out of paper')
    },
    { url: String(env['REDIS_URL']), group: 'shipping', from: '0', failed: () => undefined },
  )
  t.teardown(() => consumer.stop())

  const order = async () => {
    const input = { order: 'order-1', amount: 20, lines: 1 }
    const answer = await rest.post('/v1/executions', JSON.stringify({ workflow: 'order-fulfilment', version: '1', input }), JSON_BODY)
    if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
  }
  await order()
  const [letter] = await until(
    async () => {
      const letters = await listDeadLetters(redis, stream, 1)
      return letters.length > 0 && letters
    },
    { within: 60_000, what: 'a dead letter' },
  )

  const shell = { ...process.env, ...env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token' }
  /** Runs a line until it has printed this, or ends; those that follow are ended then. */
  const printed = async (line: string, wanted: RegExp): Promise<string> => {
    const child = spawn('bash', ['-c', line], { cwd: ROOT, env: shell, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let [text, isOver] = ['', false]
    for (const output of [child.stdout, child.stderr]) output.setEncoding('utf8').on('data', (more: string) => (text += more))
    const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
    void ended.then(() => (isOver = true))
    // A stream tells of what happens from now on, and it is not known from outside when it has begun.
    const lives = setInterval(() => void order(), 1000)
    await until(() => isOver || wanted.test(text), { within: 30_000, what: () => `${line}: ${text}` }).catch(() => undefined)
    clearInterval(lives)
    if (!isOver && child.pid !== undefined) process.kill(-child.pid)
    await ended
    return text
  }
  const lines = [...linesOf('consuming.md', 'sh'), ...linesOf('notifications.md', 'sh')]
  for (const line of lines) {
    const [, wanted] = Object.entries(PRINTS).find(([part]) => line.includes(part)) ?? []
    if (!wanted) t.fail(`nothing is known of what this prints: ${line}`)
    else {
      const own = line.replace('npm run refold --', 'node bin/refold.js').replace('<id>', letter?.id ?? '')
      t.match(await printed(own, wanted), wanted, line)
    }
  }
  for (const part of Object.keys(PRINTS))
    t.ok(
      lines.some((line) => line.includes(part)),
      `a page has ${part}`,
    )

  const service = `docs_${process.pid}`
  await database.admin.query(`CREATE ROLE ${service}`)
  t.teardown(async () => {
    await database.admin.query(`DROP ROLE ${service}`)
  })
  const [grant, ...questions] = linesOf('consuming.md', 'sql')
  await database.admin.query(String(grant).replace('my_service', service))
  const client = await database.admin.connect()
  try {
    await client.query(`SET ROLE ${service}`)
    t.equal(questions.length, 2)
    for (const question of questions) t.not((await client.query(question)).rowCount, 0, question)
  } finally {
    await client.query('RESET ROLE')
    client.release()
  }
})
