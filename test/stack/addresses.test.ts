import path from 'node:path'
import t from 'tap'
import { readConfig } from '../../config.ts'
import { resolveAddresses } from '../../stack/addresses.ts'
import { stackFolder, writeState } from '../../stack/state.ts'
import type { ServerState } from '../../stack/state.ts'

const at = (address: string): ServerState => ({ address, pid: 1, startedAt: '2026-01-01T00:00:00Z', mark: '1' })
const LOCAL = { kafka: at('127.0.0.1:1'), registry: at('http://r'), postgres: at('postgres://p'), redis: at('redis://r') }

t.test('addresses are those of the local stack', async (t) => {
  const folder = t.testdir()
  writeState(folder, { servers: LOCAL, developmentToken: 'dev-x' })
  const addresses = resolveAddresses(readConfig({}), folder)
  t.match(addresses, { kafkaBrokers: ['127.0.0.1:1'], registryUrl: 'http://r', databaseUrl: 'postgres://p', redisUrl: 'redis://r' })
  t.same([...addresses.apiTokens], [['dev-x', 'demo']])
})

t.test('all brokers of the local stack are named', async (t) => {
  const folder = t.testdir()
  writeState(folder, { servers: { ...LOCAL, 'kafka-2': at('127.0.0.1:2'), 'kafka-3': at('127.0.0.1:3') }, developmentToken: 'dev-x' })
  t.same(resolveAddresses(readConfig({}), folder).kafkaBrokers, ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'])
})

t.test('a setting goes before the local stack', async (t) => {
  const folder = t.testdir()
  writeState(folder, { servers: LOCAL, developmentToken: 'dev-x' })
  const config = readConfig({ KAFKA_BROKERS: 'a:1, b:2', DATABASE_URL: 'postgres://other', REFOLD_API_TOKENS: 't1=acme,t2=umbrella' })
  const addresses = resolveAddresses(config, folder)
  t.match(addresses, { kafkaBrokers: ['a:1', 'b:2'], databaseUrl: 'postgres://other', redisUrl: 'redis://r' })
  t.same(
    [...addresses.apiTokens],
    [
      ['t1', 'acme'],
      ['t2', 'umbrella'],
    ],
  )
})

t.test('without setting and stack the refusal names the server and what to do', async (t) => {
  t.throws(() => resolveAddresses(readConfig({ KAFKA_BROKERS: 'a:1' }), t.testdir()), {
    code: 'stack-not-running',
    message: /registry.*stack up/,
  })
})

t.test('a token without a tenant is refused, and not shown', async (t) => {
  const config = readConfig({
    KAFKA_BROKERS: 'a:1',
    SCHEMA_REGISTRY_URL: 'http://b',
    DATABASE_URL: 'postgres://c/d',
    REDIS_URL: 'redis://d',
    REFOLD_API_TOKENS: 'secret',
  })
  t.throws(() => resolveAddresses(config, t.testdir()), { code: 'config-invalid', message: /^(?!.*secret).*token=tenant/ })
})

t.test('the folder of a stack is where REFOLD_STACK says, seen from here', async (t) => {
  // Its servers are given paths in it, and stand elsewhere.
  t.equal(stackFolder({ REFOLD_STACK: 'mine' }), path.resolve('mine'))
  t.equal(path.basename(stackFolder({ REFOLD_STACK: '' })), '.refold')
})
