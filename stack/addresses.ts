// Where the servers are: by settings first, else those of the local stack.

import type { Config } from '../config.ts'
import { RefoldError } from '../errors.ts'
import { readState, stackFolder } from './state.ts'
import type { StackState } from './state.ts'

export type Addresses = {
  kafkaBrokers: string[]
  registryUrl: string
  databaseUrl: string
  redisUrl: string
  /** API token → the tenant that it stands for. */
  apiTokens: ReadonlyMap<string, string>
}

/** The tenant of the local stack's development token. */
export const DEVELOPMENT_TENANT = 'demo'

export function resolveAddresses(config: Config, folder: string = stackFolder()): Addresses {
  const state = readState(folder)
  return {
    kafkaBrokers: config.kafkaBrokers ? list(config.kafkaBrokers) : localBrokers(state),
    registryUrl: local(config.registryUrl, 'registry', state),
    databaseUrl: local(config.databaseUrl, 'postgres', state),
    redisUrl: local(config.redisUrl, 'redis', state),
    apiTokens: tokensOf(config, state),
  }
}

/** Of Redis alone: who only consumes notifications is told of no other server. */
export const resolveRedis = (config: Config, folder: string = stackFolder()): string => local(config.redisUrl, 'redis', readState(folder))

function local(setting: string | undefined, name: 'registry' | 'postgres' | 'redis', state: StackState | null): string {
  const address = setting ?? state?.servers[name]?.address
  if (!address) throw new RefoldError('stack-not-running', `the address of ${name} is not known`)
  return address
}

function localBrokers(state: StackState | null): string[] {
  const { kafka, 'kafka-2': second, 'kafka-3': third } = state?.servers ?? {}
  const brokers = [kafka, second, third].flatMap((server) => (server ? [server.address] : []))
  if (brokers.length === 0) throw new RefoldError('stack-not-running', 'the address of kafka is not known')
  return brokers
}

function tokensOf({ apiTokens, jwksUrl }: Config, state: StackState | null): Map<string, string> {
  if (!apiTokens) return new Map(state && jwksUrl === undefined ? [[state.developmentToken, DEVELOPMENT_TENANT]] : [])
  return new Map(
    list(apiTokens).map((pair) => {
      const [token, tenant, ...rest] = pair.split('=')
      if (!token || !tenant || rest.length > 0)
        throw new RefoldError('config-invalid', 'REFOLD_API_TOKENS must be token=tenant,token=tenant')
      return [token, tenant]
    }),
  )
}

const list = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
