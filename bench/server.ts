// Servers under load: Refold's API as users start it, or a bare one; each a process of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { TENANT } from './events.ts'
import type { Ground } from './ground.ts'

export const TOKEN = 'bench-token'
const ROOT = path.dirname(import.meta.dirname)
const STARTS_WITHIN = 60_000

export type Server = {
  url: string
  /** CPU it has taken so far, ms; undefined where the system does not tell (it is Linux' /proc that does). */
  cpu: () => number | undefined
  stop: () => Promise<unknown>
  signal: (name: NodeJS.Signals) => void
  /** kill -9 */
  kill: () => Promise<unknown>
}

/** Clock ticks a second in /proc; 100 on every Linux that Node runs on. */
const TICKS = 100

function cpuOf(pid: number | undefined): number | undefined {
  if (process.platform !== 'linux') return undefined
  // After the name, which is in brackets: user and system time are the 12th and 13th field.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS
}

async function environment(ground: Ground): Promise<NodeJS.ProcessEnv> {
  const { addresses, databaseUrl, prefix } = ground
  // A folder without a stack: what the process leaves there must not be found by other commands.
  const folder = await mkdtemp(path.join(os.tmpdir(), 'refold-bench-'))
  ground.owns(() => rm(folder, { recursive: true, force: true }))
  return {
    ...process.env,
    REFOLD_STACK: folder,
    KAFKA_BROKERS: addresses.kafkaBrokers.join(','),
    SCHEMA_REGISTRY_URL: addresses.registryUrl,
    DATABASE_URL: databaseUrl,
    REDIS_URL: addresses.redisUrl,
    REFOLD_API_TOKENS: `${TOKEN}=${TENANT}`,
    REFOLD_TOPIC_PREFIX: prefix,
    REFOLD_PORT: '0',
    REFOLD_LOG_LEVEL: 'info',
  }
}

const ended = (child: ChildProcess) => new Promise((resolve) => child.once('close', resolve))

/** Starts a file of ours with these arguments; resolves with the URL in the first line that tells one. */
async function startFile(ground: Ground, file: string, args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Server> {
  const env = { ...(await environment(ground)), ...more }
  const flags = ['--disable-warning=TimeoutNegativeWarning', ...(process.env['BENCH_NODE_FLAGS']?.split(' ') ?? [])]
  const child = spawn(process.execPath, [...flags, path.join(ROOT, file), ...args], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const over = ended(child)
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return over
  }
  ground.owns(() => end('SIGTERM'))
  const lines: string[] = []
  const found = Promise.withResolvers<string>()
  const hear = (line: string) => {
    lines.push(line)
    // A process without the API has no address.
    if (line.includes('"running;') && !line.includes('"url"')) found.resolve('')
    const url = /running.*(http:\/\/127\.0\.0\.1:\d+)|(http:\/\/127\.0\.0\.1:\d+).*running/.exec(line)
    if (url) found.resolve(url[1] ?? url[2] ?? '')
  }
  createInterface({ input: child.stdout }).on('line', hear)
  createInterface({ input: child.stderr }).on('line', hear)
  const timer = setTimeout(() => found.reject(new Error(`${file} did not start: ${lines.join('\n')}`)), STARTS_WITHIN)
  void over.then(() => found.reject(new Error(`${file} ended: ${lines.join('\n')}`)))
  const url = await found.promise.finally(() => clearTimeout(timer))
  return {
    url,
    cpu: () => cpuOf(child.pid),
    stop: () => end('SIGTERM'),
    signal: (name) => void child.kill(name),
    kill: () => end('SIGKILL'),
  }
}

/** `refold start --roles api`. */
export const startApi = (ground: Ground) => startFile(ground, 'cli/main.ts', ['start', '--roles', 'api'])

/** Any roles, with an application. */
export const startAll = (ground: Ground, { roles, app, env }: { roles: string; app: string; env: NodeJS.ProcessEnv }) =>
  startFile(ground, 'cli/main.ts', ['start', '--roles', roles, '--app', app], env)

/** The bare servers of bare-server.ts. */
export const startBare = (ground: Ground) => startFile(ground, 'bench/bare-server.ts', [ground.topic])
