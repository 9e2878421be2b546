// What is known of the servers of this clone: `.refold/stack.json` while they run, `.refold/secrets.json` as long as their data.

import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ProcessMark } from './process.ts'

export type ServerName = 'kafka' | 'kafka-2' | 'kafka-3' | 'registry' | 'postgres' | 'redis'

/** A server that we started. `mark` tells its process from a later one with the same pid. `lent`: it ends with its last user. */
export type ServerState = { address: string; pid: number; startedAt: string; mark: ProcessMark; lent?: true }

export type StackState = { servers: Partial<Record<ServerName, ServerState>>; developmentToken: string }

/** Made once for a stack's data and kept with it. `id` names its folder outside the clone, `kafkaCluster` its log. */
export type Secrets = { id: string; kafkaCluster: string; databasePassword: string; developmentToken: string }

/** The stack of this clone. Another folder is another stack, with its own data and ports. */
export function stackFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return path.resolve(env['REFOLD_STACK'] || path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), '.refold'))
}

const stateFile = (folder: string) => path.join(folder, 'stack.json')
const secretsFile = (folder: string) => path.join(folder, 'secrets.json')

export function readState(folder: string): StackState | null {
  const file = stateFile(folder)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as StackState) : null
}

/** Written beside and renamed, so that a reader never sees half of it; readable by its owner only, since it holds secrets. */
export function writeState(folder: string, state: StackState): void {
  writePrivate(stateFile(folder), state)
}

export function removeState(folder: string): void {
  rmSync(stateFile(folder), { force: true })
}

export function readSecrets(folder: string): Secrets {
  const file = secretsFile(folder)
  if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Secrets
  const secrets: Secrets = {
    id: randomBytes(6).toString('hex'),
    // Kafka wants a UUID as 22 characters of base64url that don't begin with a dash.
    kafkaCluster: `R${Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url').slice(1)}`,
    databasePassword: randomBytes(18).toString('base64url'),
    developmentToken: `dev-${randomBytes(18).toString('base64url')}`,
  }
  writePrivate(file, secrets)
  return secrets
}

function writePrivate(file: string, value: unknown): void {
  mkdirSync(path.dirname(file), { recursive: true })
  const beside = `${file}.${process.pid}`
  try {
    writeFileSync(beside, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 })
    renameSync(beside, file)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
}
