// [stack]: the servers behind every stage (Kafka, registry, Postgres, Redis), started and ended on this machine.
//
// Owns `.refold/`: stack.json (addresses, pids), secrets.json, users/, data/, logs/.
// S1  Only processes started here are ended: pid and start time must both be the recorded ones.
// S2  A server whose URL is in the environment is neither started nor ended.
// S3  A server that runs is left as it is, so `up` may be called at any time.
// S4  stack.json names a server as soon as its process runs, so none is forgotten, whatever fails or is interrupted.
// S5  A server that was started for those who use it (a demo, a test run) is ended by the last of them, or by `down`; `up` makes it stay.

import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { asError, RefoldError } from '../errors.ts'
import { brokersOf, kafka } from './kafka.ts'
import { alone } from './lock.ts'
import type { Say } from './parts.ts'
import { freePort } from './ports.ts'
import { postgres } from './postgres.ts'
import { end, launch, runs } from './process.ts'
import { redis } from './redis.ts'
import { registry } from './registry.ts'
import { PortTaken, untilAnswers } from './server.ts'
import type { Server, Start } from './server.ts'
import { readSecrets, readState, removeState, writeState } from './state.ts'
import type { ServerName, ServerState, StackState } from './state.ts'
import { enter, usersOf } from './users.ts'

export type Kind = 'kafka' | 'registry' | 'postgres' | 'redis'
export const KINDS: readonly Kind[] = ['kafka', 'registry', 'postgres', 'redis']

type Servers = Partial<Record<ServerName, ServerState>>

export type UpOptions = {
  folder: string
  say: Say
  env: Readonly<Record<string, string | undefined>>
  /** Which servers; all by default. */
  kinds?: readonly Kind[]
  brokers?: 1 | 3
  /** Added to the usual ports, so that stacks side by side don't take each other's while a server restarts. Default 0. */
  portsFrom?: number
  /** S5: what it starts ends with the last user, and what was lent already still does. By default all that is wanted stays. */
  lent?: boolean
}

/** Starts what doesn't run yet and waits until all answer. Gives the names of those it started. */
export async function up({ folder, say, env, kinds = KINDS, brokers, portsFrom = 0, lent = false }: UpOptions): Promise<ServerName[]> {
  return exclusive(folder, say, async () => {
    const wanted = serversOf(brokers ?? brokersOf(folder) ?? 1).filter(
      ({ name, env: variable }) => kinds.includes(kindOf(name)) && !env[variable],
    )
    const before = running(folder)
    if (!lent) for (const { name } of wanted) delete before[name]?.lent
    const context = contextOf(folder, say, before, { portsFrom, lent })
    const results = await Promise.allSettled(
      wanted.map(async (server) => {
        const begun = performance.now()
        const known = before[server.name]
        // It may have been left by an `up` that was interrupted, still on its way.
        if (known)
          return untilAnswers({
            name: server.name,
            process: { ...known, log: logOf(folder, server.name) },
            ports: [portOf(known.address)!],
            answers: () => server.answers(known.address),
          })
        await start(server, context(server.name))
        say(
          `${server.name} is up at ${withoutPassword(running(folder)[server.name]?.address ?? '')} (${((performance.now() - begun) / 1000).toFixed(1)} s)`,
        )
      }),
    )
    const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => asError(reason))
    for (const failure of failures.slice(1)) say(failure.message)
    if (failures[0]) throw failures[0]
    return wanted.map(({ name }) => name).filter((name) => !before[name])
  })
}

/** Starts a server, and again on another port when its port was taken between choosing and listening. */
async function start(server: Server, context: Start): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await server.start(context)
    } catch (error) {
      if (!(error instanceof PortTaken)) throw error
      if (attempt === 5)
        throw new RefoldError('stack-failed', `other processes took the ports of ${server.name} five times`, { cause: error })
      context.say(`${server.name}: somebody else took port ${error.message} just now; trying another`)
    }
  }
}

/** What servers are given to start with; each is written into stack.json as soon as its process runs (S4). */
function contextOf(
  folder: string,
  say: Say,
  before: Servers,
  { portsFrom, lent }: { portsFrom: number; lent: boolean },
): (name: ServerName) => Start {
  const secrets = readSecrets(folder)
  const recorded = readState(folder)?.servers ?? {}
  // Those that ended stay in the file until they are started anew: their ports are tried first, also at a second attempt.
  const state: StackState = { servers: { ...recorded, ...before }, developmentToken: secrets.developmentToken }
  const taken = new Set<number>()
  writeState(folder, state)
  return (name) => ({
    folder,
    secrets,
    say,
    port: (usual, last) => freePort(last ?? usual + portsFrom, taken),
    last: (other) => portOf(recorded[other]?.address),
    runs: (other) => other in before,
    launch: async (address, what) => {
      const launched = await launch({ ...what, log: logOf(folder, name) })
      const { pid, mark } = launched
      state.servers[name] = { address, pid, startedAt: new Date().toISOString(), mark, ...(lent && { lent }) }
      writeState(folder, state)
      return launched
    },
  })
}

/** Ends the servers that were started here; gives their names. */
export async function down(folder: string, say: Say, options: { kinds?: readonly Kind[]; erase?: boolean } = {}): Promise<ServerName[]> {
  return exclusive(folder, say, async () => {
    const kinds = options.kinds ?? KINDS
    const ended = await endThose(folder, say, (name) => kinds.includes(kindOf(name)))
    if (options.erase) erase(folder)
    return ended
  })
}

async function endThose(folder: string, say: Say, isMeant: (name: ServerName, server: ServerState) => boolean): Promise<ServerName[]> {
  const servers = running(folder)
  const chosen = serversOf(3).filter(({ name }) => servers[name] && isMeant(name, servers[name]))
  await Promise.all(
    chosen.map(async ({ name, stop }) => {
      await end(servers[name]!, stop.signal, stop.patience)
      delete servers[name]
      say(`${name} is down`)
    }),
  )
  if (Object.keys(servers).length > 0) writeState(folder, { servers, developmentToken: readSecrets(folder).developmentToken })
  else removeState(folder)
  return chosen.map(({ name }) => name)
}

/** The servers that end with their last user. */
export function lentServers(folder: string): ServerName[] {
  const servers = running(folder)
  return serversOf(3).flatMap(({ name }) => (servers[name]?.lent ? [name] : []))
}

/** S5. Counts this process among the users of the stack, also before anything is up, until what it gives is called. */
export async function use(folder: string, say: Say): Promise<() => Promise<void>> {
  const leave = await writing(folder, async () => enter(folder))
  return async () => {
    leave()
    if (lentServers(folder).length === 0) return
    await exclusive(folder, say, async () => {
      const [other] = usersOf(folder)
      if (other === undefined) await endThose(folder, say, (_, { lent }) => lent === true)
      else say(`process ${other} still uses the servers; they end with it`)
    })
  }
}

export type Status = { name: ServerName; address: string; pid: number | null; state: 'up' | 'silent' | 'given'; startedAt: string | null }

/** What runs, and whether it answers now. `given` is a server of the environment that answers. */
export async function status(folder: string, env: Readonly<Record<string, string | undefined>>): Promise<Status[]> {
  // Those that died too: the record of them goes when they are started again, or with `down`.
  const servers = readState(folder)?.servers ?? {}
  const rows = serversOf(3).map(async (server): Promise<Status | null> => {
    const given = env[server.env]
    if (given && kindOf(server.name) === server.name) {
      const answers = await server.answers(given.split(',')[0]!)
      return { name: server.name, address: withoutPassword(given), pid: null, state: answers ? 'given' : 'silent', startedAt: null }
    }
    const known = servers[server.name]
    if (!known || given) return null
    const { address, pid, startedAt } = known
    return {
      name: server.name,
      address: withoutPassword(address),
      pid,
      state: runs(known) && (await server.answers(address)) ? 'up' : 'silent',
      startedAt,
    }
  })
  return (await Promise.all(rows)).filter((row) => row !== null)
}

export const logOf = (folder: string, name: ServerName) => path.join(folder, 'logs', `${name}.log`)

/** Of the recorded servers those whose process still runs (S1). */
export function running(folder: string): Servers {
  const entries = Object.entries(readState(folder)?.servers ?? {}) as [ServerName, ServerState][]
  return Object.fromEntries(entries.filter(([, server]) => runs(server)))
}

function serversOf(brokers: 1 | 3): Server[] {
  return [...kafka(brokers), registry, postgres, redis]
}

function kindOf(name: ServerName): Kind {
  return name === 'kafka-2' || name === 'kafka-3' ? 'kafka' : name
}

/** The port of an address: a URL, or `host:port`. */
function portOf(address: string | undefined): number | undefined {
  const digits = address && /:(\d+)(?:\/|$)/.exec(address)?.[1]
  return digits ? Number(digits) : undefined
}

/** Removes the data of a stack that is down. */
function erase(folder: string): void {
  if (Object.keys(running(folder)).length > 0)
    throw new RefoldError('stack-failed', 'servers still run; data is erased only when all are down')
  if (!existsSync(path.join(folder, 'secrets.json'))) return
  const secrets = readSecrets(folder)
  const outside = serversOf(1).flatMap((server) => server.elsewhere?.(secrets) ?? [])
  for (const data of [path.join(folder, 'data'), path.join(folder, 'logs'), path.join(folder, 'secrets.json'), ...outside])
    rmSync(data, { recursive: true, force: true })
}

function exclusive<T>(folder: string, say: Say, work: () => Promise<T>): Promise<T> {
  const waiting = () => say('another command is starting or ending the stack; waiting for it')
  return writing(folder, () => alone(path.join(folder, 'stack.lock'), waiting, work))
}

/** What a file system refuses: no room, no right, no folder there. */
const REFUSED: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'ENOTDIR', 'EEXIST', 'ENOENT'])

async function writing<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (error instanceof RefoldError || !REFUSED.has(code)) throw error
    throw new RefoldError('stack-unwritable', `${message} (its folder: ${folder})`, { cause: error })
  }
}

/** An address as it may be shown. */
export function withoutPassword(address: string): string {
  return address.replace(/\/\/([^:/@]+):[^@]*@/, '//$1:***@')
}
