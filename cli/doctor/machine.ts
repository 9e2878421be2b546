// This machine: Node, Java, the API's port.

import type { Config } from '../../config.ts'
import { newestJava } from '../../stack/java.ts'
import { isFree } from '../../stack/ports.ts'
import { type Finding, ok, warn, WITHIN, wrong } from './finding.ts'

/** Strips types from TypeScript by itself, which is how Refold runs. */
const NODE = 24

/** What the local registry needs; Kafka would do with less. */
const JAVA = 21

export function lookAtNode(version: string = process.versions.node): Finding {
  if (Number(version.split('.')[0]) >= NODE) return ok('node', version)
  return wrong('node', `${version}; ${NODE} or newer is needed`, 'Run commands by `npm run refold -- …`, which brings the right Node.')
}

/** `isNeeded`: some server of Java runs, or would run, on this machine. */
export function lookAtJava(isNeeded: boolean): Finding {
  const java = newestJava()
  if (java && java.version >= JAVA) return ok('java', `${java.version} (${java.path})`)
  const found = java ? `${java.version} (${java.path})` : 'none found in JAVA_HOME, PATH and the usual folders'
  if (!isNeeded) return ok('java', `${found}; not needed, Kafka and the registry are given by URL`)
  return wrong('java', `${found}; the local registry needs ${JAVA} or newer`, 'On Debian 13: apt-get install openjdk-21-jdk-headless')
}

/** Free, or ours. */
export async function lookAtPort({ host, port }: Config): Promise<Finding> {
  if (port === 0) return ok('api port', '0: a free one is taken at start-up')
  if (await isFree(port)) return ok('api port', `${port} is free: no API runs here`)
  const url = `http://${host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host}:${port}`
  const answer = await ready(url)
  if (answer === 'ready') return ok('api port', `${port}: a Refold API, ready`)
  if (answer === undefined)
    return wrong('api port', `${port} is taken by something else`, `Choose another: npm run refold -- start --port 0, or REFOLD_PORT`)
  return warn('api port', `${port}: a Refold API, not ready: ${answer}`, `See ${url}/readyz and the lines below.`)
}

type Readiness = { status: string; parts: Record<string, { ready: boolean; detail?: string }> }

/** `ready`, or what is not; undefined when it isn't Refold that answers. */
async function ready(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(WITHIN) })
    const { status, parts } = (await response.json()) as Readiness
    if (status === 'ready') return status
    const waiting = Object.entries(parts).filter(([, part]) => !part.ready)
    return waiting.map(([name, { detail }]) => (detail === undefined ? name : `${name} (${detail})`)).join(', ')
  } catch {
    return undefined // no HTTP, no JSON, or JSON of another kind
  }
}
