// Parts that come from Maven Central: fetched once by `mvn`, kept in the user's cache, complete when their marker is there.

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { RefoldError } from '../errors.ts'
import { newestJava } from './java.ts'
import { alone } from './lock.ts'

/** Prints one line about what is going on. */
export type Say = (line: string) => void

export type Part = {
  name: string
  version: string
  /** Size of the download in MB (measured), to be said beforehand. */
  megabytes: number
  /** Body of `<dependencies>`. */
  dependencies: string
  /** `jars`: the run-time jars as files. `unpacked`: what the artifact holds, restricted to `includes`. */
  as: 'jars' | 'unpacked'
  includes?: string
  /** Its folders in the local Maven repository: emptied afterwards, since the part has a folder of its own. */
  fetched: readonly string[]
}

const PLUGIN = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1'
/** What Maven fetches of its own before the first part, in MB. */
const PLUGIN_MEGABYTES = 18

export function dependency(coordinates: {
  group: string
  artifact: string
  version: string
  type?: string
  classifier?: string
  alone?: true
}): string {
  const { group, artifact, version, type = 'jar', classifier, alone: single } = coordinates
  const tags = [
    `<groupId>${group}</groupId>`,
    `<artifactId>${artifact}</artifactId>`,
    `<version>${version}</version>`,
    `<type>${type}</type>`,
  ]
  if (classifier) tags.push(`<classifier>${classifier}</classifier>`)
  if (single) tags.push('<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>')
  return `<dependency>${tags.join('')}</dependency>`
}

/** The folder of a part, or null when it isn't complete. */
export function findPart(part: Part): string | null {
  const folder = partFolder(part)
  return existsSync(path.join(folder, 'complete')) ? folder : null
}

/** The folder of a part, fetched if it isn't there. Two processes may ask at once: one fetches, the other waits. */
export async function fetchPart(part: Part, say: Say): Promise<string> {
  const found = findPart(part)
  if (found) return found
  requireMaven()
  // One `mvn` at a time: they share a local repository, which is not made for two writers.
  const cache = cacheFolder()
  return alone(
    path.join(cache, 'fetch.lock'),
    () => say(`${part.name}: waits for another download`),
    async () => findPart(part) ?? (await fetch(part, cache, say)),
  )
}

async function fetch(part: Part, cache: string, say: Say): Promise<string> {
  const repository = path.join(cache, 'maven')
  mkdirSync(repository, { recursive: true })
  const before = await sizeOf(repository)
  const megabytes = part.megabytes + (before === 0 ? PLUGIN_MEGABYTES : 0)
  say(`${part.name} ${part.version}: downloading about ${megabytes} MB from Maven Central`)
  const folder = partFolder(part)
  const work = `${folder}.part`
  rmSync(work, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(work, { recursive: true })
  const pom = path.join(work, 'pom.xml')
  writeFileSync(pom, pomOf(part))
  const goal =
    part.as === 'jars'
      ? [`${PLUGIN}:copy-dependencies`, '-DincludeScope=runtime']
      : [`${PLUGIN}:unpack-dependencies`, ...(part.includes ? [`-Dmdep.unpack.includes=${part.includes}`] : [])]
  const begun = Date.now()
  const tell = async () => {
    const fetched = Math.min(megabytes, Math.round(((await sizeOf(repository)) - before) / 1e6))
    say(`${part.name}: ${fetched} of about ${megabytes} MB, ${Math.round((Date.now() - begun) / 1000)} s`)
  }
  const progress = setInterval(() => void tell(), 3000)
  try {
    await maven(['-f', pom, ...goal, `-DoutputDirectory=${work}`, `-Dmaven.repo.local=${repository}`], part)
  } finally {
    clearInterval(progress)
  }
  rmSync(pom)
  writeFileSync(path.join(work, 'complete'), `${new Date().toISOString()}\n`)
  renameSync(work, folder)
  for (const group of part.fetched) rmSync(path.join(repository, group), { recursive: true, force: true })
  return folder
}

function pomOf({ dependencies }: Part): string {
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>refold</groupId><artifactId>part</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>${dependencies}</dependencies></project>\n`
}

/** Runs Maven with the newest JDK found, since a JAVA_HOME that points nowhere stops it. */
function maven(args: readonly string[], part: Part): Promise<void> {
  const java = newestJava()
  const env = java ? { ...process.env, JAVA_HOME: path.dirname(path.dirname(java.path)) } : process.env
  return new Promise((resolve, reject) => {
    const child = spawn('mvn', ['-B', '-ntp', '-q', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    const keep = (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000))
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.once('error', reject)
    child.once('exit', (code) => {
      if (code === 0) resolve()
      else reject(new RefoldError('part-missing', `Maven could not fetch ${part.name} ${part.version}; it said:\n${said.trim()}\n`))
    })
  })
}

function requireMaven(): void {
  if (spawnSync('mvn', ['--version'], { stdio: 'ignore' }).error)
    throw new RefoldError('part-missing', 'Maven (mvn) is not on PATH; on Debian: apt-get install maven')
}

const partFolder = ({ name, version }: Part) => path.join(cacheFolder(), `${name}-${version}`)

/** Where downloads are kept: XDG_CACHE_HOME or ~/.cache, else, for a home that can't be written, the persistent temporary folder. */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const wanted = path.join(env['XDG_CACHE_HOME'] || path.join(env['HOME'] || os.homedir(), '.cache'), 'refold')
  return canWrite(wanted) ? wanted : ownFolder(path.join(persistentTmp(), `refold-cache-${os.userInfo().uid}`))
}

/** A temporary folder that survives a restart of the machine. */
export function persistentTmp(): string {
  return existsSync('/var/tmp') ? '/var/tmp' : os.tmpdir()
}

/** Makes a folder in a place that everybody may write to, and refuses one that somebody else made there. */
export function ownFolder(folder: string, mode = 0o700): string {
  mkdirSync(folder, { recursive: true })
  const found = lstatSync(folder)
  if (!found.isDirectory() || found.uid !== os.userInfo().uid)
    throw new RefoldError('stack-failed', `${folder} belongs to somebody else; remove it`)
  chmodSync(folder, mode)
  return folder
}

function canWrite(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Bytes in a folder; a file that goes away meanwhile counts nothing. */
async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, size) => sum + size, 0)
}
