// `refold stack env`: addresses for other programs.

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const REFOLD = path.join(import.meta.dirname, '..', '..', 'bin', 'refold.js')
const server = (address: string) => ({ address, pid: 1, startedAt: '', mark: {} })
const STATE = {
  servers: {
    kafka: server('127.0.0.1:1'),
    registry: server('http://127.0.0.1:2'),
    postgres: server('postgres://refold:pass@127.0.0.1:3/refold'),
    redis: server('redis://127.0.0.1:4'),
  },
  developmentToken: 'dev-token',
}

t.test('addresses as variables, with the password; a setting wins; one alone as its value', async (t) => {
  const env = { PATH: process.env['PATH'], REFOLD_STACK: t.testdir({ 'stack.json': JSON.stringify(STATE) }), REDIS_URL: "redis://it's:5" }
  const run = (...names: string[]) => promisify(execFile)(process.execPath, [REFOLD, 'stack', 'env', ...names], { env })
  const { stdout: all } = await run()
  t.equal(
    all,
    [
      "KAFKA_BROKERS='127.0.0.1:1'",
      "SCHEMA_REGISTRY_URL='http://127.0.0.1:2'",
      "DATABASE_URL='postgres://refold:pass@127.0.0.1:3/refold'",
      String.raw`REDIS_URL='redis://it'\''s:5'`,
      "REFOLD_API_TOKEN='dev-token'",
      '',
    ].join('\n'),
  )
  t.equal((await run('DATABASE_URL')).stdout, 'postgres://refold:pass@127.0.0.1:3/refold\n')
  await t.rejects(run('DATABASE'), /Allowed choices are KAFKA_BROKERS, .*DATABASE_URL/)
})
