// Redis: the one on PATH, else the binary inside a Maven artifact.

import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { RefoldError } from '../errors.ts'
import { dependency, fetchPart } from './parts.ts'
import type { Part, Say } from './parts.ts'
import { HOST } from './ports.ts'
import { ask } from './probe.ts'
import { untilAnswers } from './server.ts'
import type { Server } from './server.ts'

export const BINARY: Readonly<Record<string, string>> = {
  'linux-x64': 'redis-server-6.2.6-v5-linux-amd64',
  'linux-arm64': 'redis-server-6.2.7-linux-arm64',
  'darwin-x64': 'redis-server-6.2.6-v5-darwin-amd64',
  'darwin-arm64': 'redis-server-6.2.6-v5-darwin-arm64',
}

const PART: Part = {
  name: 'redis',
  version: '1.4.3',
  megabytes: 12,
  dependencies: dependency({ group: 'com.github.codemonstur', artifact: 'embedded-redis', version: '1.4.3', alone: true }),
  as: 'unpacked',
  includes: 'redis-server-*',
  fetched: ['com/github/codemonstur'],
}

/**
 * Redis holds nothing that must survive (design 8); what is there at an orderly stop is kept all the same, so that dead letters are
 * not gone with it. No key is thrown out silently.
 */
export const SETTINGS = { save: '3600 1', appendonly: 'no', 'maxmemory-policy': 'noeviction' }

export const redis: Server = {
  name: 'redis',
  env: 'REDIS_URL',
  stop: { signal: 'SIGTERM', patience: 5000 },
  async start({ folder, say, port, last, launch }) {
    const command = await findBinary(say)
    const chosen = await port(6379, last('redis'))
    const data = path.join(folder, 'data', 'redis')
    mkdirSync(data, { recursive: true })
    const settings = { ...SETTINGS, port: chosen, bind: HOST, dir: data, daemonize: 'no' }
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...String(value).split(' ')])
    const address = `redis://${HOST}:${chosen}`
    const server = await launch(address, { command, args, cwd: data })
    await untilAnswers({ name: 'redis', process: server, ports: [chosen], answers: () => redis.answers(address) })
  },
  async answers(address) {
    const { hostname, port } = new URL(address)
    return (await ask(hostname, Number(port || 6379), Buffer.from('PING\r\n'))) !== null
  },
}

async function findBinary(say: Say): Promise<string> {
  for (const folder of (process.env['PATH'] ?? '').split(path.delimiter)) {
    const file = path.join(folder, 'redis-server')
    if (existsSync(file)) return file
  }
  const name = BINARY[`${process.platform}-${process.arch}`]
  if (!name) throw new RefoldError('part-missing', 'redis-server is not on PATH; on Debian: apt-get install redis-server')
  const file = path.join(await fetchPart(PART, say), name)
  chmodSync(file, 0o755)
  return file
}
