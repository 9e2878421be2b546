// Refold as users run it: processes of its own, made and killed by a test.

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import type { Test } from 'tap'
import type { Addresses } from '../../stack/addresses.ts'
import { type TestDatabase, useDatabase } from './database.ts'
import { until } from './wait.ts'

const ROOT = path.dirname(path.dirname(import.meta.dirname))

export type Installation = {
  database: TestDatabase
  /** Environment of every process of this installation. */
  env: NodeJS.ProcessEnv
}

/**
 * An installation of its own on the shared servers: a database, a topic prefix, API tokens; all of it is gone at the end.
 * `tokens` is `token=tenant,…`.
 */
export async function useInstallation(t: Test, addresses: Addresses, tokens: string): Promise<Installation> {
  const prefix = `test-${randomBytes(6).toString('hex')}`
  t.teardown(() => dropTopics(addresses.kafkaBrokers, prefix))
  const database = await useDatabase(t, addresses.databaseUrl, { migrated: false })
  return {
    database,
    env: {
      ...process.env,
      // A folder without a stack: what these processes leave there (api.json) must not be found by anybody else.
      REFOLD_STACK: t.testdir(),
      KAFKA_BROKERS: addresses.kafkaBrokers.join(','),
      SCHEMA_REGISTRY_URL: addresses.registryUrl,
      DATABASE_URL: database.url,
      // A database of its own there: tests flush it.
      REDIS_URL: `${addresses.redisUrl}/${1 + (process.pid % 15)}`,
      REFOLD_API_TOKENS: tokens,
      REFOLD_TOPIC_PREFIX: prefix,
      REFOLD_PORT: '0',
    },
  }
}

async function dropTopics(brokers: string[], prefix: string): Promise<void> {
  const admin = new Kafka({ brokers, clientId: prefix, logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(`${prefix}.`))
    if (topics.length > 0) await admin.deleteTopics({ topics })
    const ours = async () =>
      (await admin.listGroups()).groups.map(({ groupId }) => groupId).filter((group) => group.startsWith(`${prefix}.`))
    // Members that were killed leave their group only when their session is over.
    const noneLeft = async (): Promise<boolean> => {
      for (const group of await ours()) await admin.deleteGroups([group]).catch(() => undefined)
      return (await ours()).length === 0
    }
    await until(noneLeft, { within: 30_000, every: 250, what: `groups of ${prefix} to be deleted` })
  } finally {
    await admin.disconnect()
  }
}

export type RefoldProcess = {
  child: ChildProcess
  /** Of the API; '' without that role. */
  url: string
  /** Ends it as an operator would; resolves with its exit code. */
  stop: () => Promise<number | null>
  /** kill -9. */
  kill: () => Promise<void>
  /** The last that it wrote. */
  tail: () => string
}

type Finished = { code: number | null; stdout: string; stderr: string }

const cli = (args: readonly string[], env: NodeJS.ProcessEnv) =>
  spawn(process.execPath, ['--disable-warning=TimeoutNegativeWarning', path.join(ROOT, 'cli', 'main.ts'), ...args], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })

const closed = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => {
    child.once('close', resolve)
  })

export type Started = {
  /** Module of the application, for the roles runtime and worker. */
  app?: string
  /** Beside the installation's. */
  env?: NodeJS.ProcessEnv
}

/** `refold start --roles …`, once it runs. It is ended with the test. */
export async function startRefold(t: Test, { env }: Installation, roles: string, started: Started = {}): Promise<RefoldProcess> {
  const { running, ...one } = launchRefold(env, roles, started)
  t.teardown(one.stop)
  return running
}

/** One that is to die by itself, by this fault; it may do so before it runs. */
export async function dyingRefold(t: Test, { env }: Installation, roles: string, fault: string): Promise<void> {
  const { child, running, stop } = launchRefold(env, roles, { env: { REFOLD_FAULTS: fault } })
  t.teardown(stop)
  running.catch(() => undefined)
  await until(() => child.signalCode === 'SIGKILL', { within: 60_000, what: `a death at ${fault}` })
}

/** As `startRefold`, and nobody ends it. `running` rejects when it ends before it runs. */
export function launchRefold(
  env: NodeJS.ProcessEnv,
  roles: string,
  { app, env: more }: Started = {},
): { child: ChildProcess; running: Promise<RefoldProcess>; stop: () => Promise<number | null> } {
  const child = cli(['start', '--roles', roles, ...(app === undefined ? [] : ['--app', app])], { ...env, ...more })
  const ended = closed(child)
  const stop = () => {
    child.kill('SIGTERM')
    child.kill('SIGCONT')
    return ended
  }
  const lines: string[] = []
  let told: { url?: string } | undefined
  const hear = (line: string) => {
    lines.push(line)
    if (line.includes('"running;')) told = JSON.parse(line) as { url?: string }
  }
  createInterface({ input: child.stdout }).on('line', hear)
  createInterface({ input: child.stderr }).on('line', hear)
  let code: number | null | undefined
  void ended.then((with_) => (code = with_))
  const run = async (): Promise<RefoldProcess> => {
    await until(() => told !== undefined || code !== undefined, { within: 60_000, what: () => `refold start: ${lines.join('\n')}` })
    if (told === undefined) throw new Error(`refold start ended with ${code}: ${lines.join('\n')}`)
    return {
      child,
      url: told.url ?? '',
      stop,
      async kill() {
        child.kill('SIGKILL')
        await ended
      },
      tail: () => lines.slice(-20).join('\n'),
    }
  }
  return { child, running: run(), stop }
}

/** Any command of the CLI; `finished` resolves when it has ended. */
export function startCommand(args: readonly string[], env: NodeJS.ProcessEnv) {
  const child = cli(args, env)
  const end = async (): Promise<Finished> => {
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    return { code: await closed(child), stdout, stderr }
  }
  return { child, finished: end() }
}

/** Any command of the CLI, to its end. */
export const runRefold = (args: readonly string[], env: NodeJS.ProcessEnv): Promise<Finished> => startCommand(args, env).finished
