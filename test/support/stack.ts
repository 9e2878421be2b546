// The real servers for a test, or the reason why it can't run.

import type { Test } from 'tap'
import { readConfig } from '../../config.ts'
import { resolveAddresses } from '../../stack/addresses.ts'
import type { Addresses } from '../../stack/addresses.ts'
import { running } from '../../stack/stack.ts'
import type { Kind } from '../../stack/stack.ts'
import { stackFolder } from '../../stack/state.ts'

type NoAddresses = { readonly [K in keyof Addresses]: undefined }

const NONE: NoAddresses = {
  kafkaBrokers: undefined,
  registryUrl: undefined,
  databaseUrl: undefined,
  redisUrl: undefined,
  apiTokens: undefined,
}
const SETTING = { kafka: 'kafkaBrokers', registry: 'registryUrl', postgres: 'databaseUrl', redis: 'redisUrl' } as const

/**
 * Addresses of the servers that a test needs. Where one isn't there the test is skipped with that reason and all
 * addresses are undefined (return then); with REFOLD_REQUIRE=all it fails instead.
 */
export function useStack(t: Test, needed: readonly Kind[]): Addresses | NoAddresses {
  const config = readConfig(process.env)
  const servers = running(stackFolder())
  const absent = needed.filter((kind) => !config[SETTING[kind]] && !servers[kind])
  if (absent.length === 0) return resolveAddresses(config)
  const reason = `needs ${absent.join(', ')}: npm run refold -- stack up`
  if (process.env['REFOLD_REQUIRE'] === 'all') t.fail(reason)
  else t.plan(0, reason)
  return NONE
}
