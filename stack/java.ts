// Which Java runs here: looks at JAVA_HOME, PATH and the usual folders for JDKs, and takes the newest.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { RefoldError } from '../errors.ts'

export type Java = { path: string; version: number }

const FOLDERS = ['/usr/lib/jvm', '/usr/java', '/opt', '/opt/java', '/Library/Java/JavaVirtualMachines', '/opt/homebrew/opt']

let newest: Java | null | undefined

/** The newest Java of this machine, or null. Looked for once. */
export function newestJava(): Java | null {
  if (newest === undefined) newest = findNewest(process.env, FOLDERS)
  return newest
}

/** The newest Java in `JAVA_HOME`, on `PATH` and in the folders of `folders`. */
export function findNewest(env: Readonly<Record<string, string | undefined>>, folders: readonly string[]): Java | null {
  const found = candidates(env, folders)
    .map(versionOf)
    .filter((java) => java !== null)
  return found.toSorted((a, b) => b.version - a.version)[0] ?? null
}

/** A Java of at least `version`; the refusal says what to type. */
export function requireJava(version: number, what: string, java: Java | null = newestJava()): Java {
  if (java && java.version >= version) return java
  const found = java ? `the newest found is ${java.version} (${java.path})` : 'none was found'
  throw new RefoldError(
    'part-missing',
    `${what} needs Java ${version} or newer; ${found} in JAVA_HOME, PATH and ${FOLDERS[0]}. On Debian 13: apt-get install openjdk-21-jdk-headless; on Debian 12 install a JDK from https://adoptium.net and set JAVA_HOME`,
  )
}

/** `start`: the second compiler stays off, so that the server is up sooner; `work`: on, so that it costs less from then on. */
export type TunedFor = 'start' | 'work'

/**
 * Flags of a small server. `data` is its own folder: its classes are kept there as they were loaded, which makes the next
 * start a third cheaper (Kafka: 3.7 → 2.4 s of processor time).
 */
export function serverFlags({ version }: Java, megabytes: number, data: string, tunedFor: TunedFor): string[] {
  const archive = version >= 19 ? ['-XX:+AutoCreateSharedArchive', `-XX:SharedArchiveFile=${path.join(data, 'classes.jsa')}`] : []
  return [`-Xmx${megabytes}m`, '-XX:+UseSerialGC', ...(tunedFor === 'start' ? ['-XX:TieredStopAtLevel=1'] : []), ...archive]
}

function candidates(env: Readonly<Record<string, string | undefined>>, folders: readonly string[]): string[] {
  const homes = [env['JAVA_HOME'] ?? '', ...folders.flatMap(subFolders)].filter((home) => home !== '')
  const files = [
    ...homes.flatMap((home) => [path.join(home, 'bin', 'java'), path.join(home, 'Contents', 'Home', 'bin', 'java')]),
    ...(env['PATH'] ?? '').split(path.delimiter).map((folder) => path.join(folder, 'java')),
  ]
  return [...new Set(files.filter((file) => existsSync(file)).map((file) => realpathSync(file)))]
}

const subFolders = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder).map((name) => path.join(folder, name)) : [])

/** From the `release` file that every JDK has beside its bin folder; only where that is missing Java is asked. */
function versionOf(file: string): Java | null {
  const release = path.join(path.dirname(path.dirname(file)), 'release')
  const text = existsSync(release) ? readFileSync(release, 'utf8') : spawnSync(file, ['-version'], { encoding: 'utf8' }).stderr
  const version = /(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)/.exec(text ?? '')?.[1]
  return version ? { path: file, version: Number(version) } : null
}
