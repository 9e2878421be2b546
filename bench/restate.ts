// Restate on this machine, as its users start it: its server from npm, a service in a process of its own, its defaults.

import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, mkdir, open, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { cacheFolder } from '../stack/parts.ts'
import { freePort, HOST } from '../stack/ports.ts'
import type { Ground } from './ground.ts'
import { say } from './measure.ts'
import { askJson, settled, timed } from './workflow-load.ts'

/** The newest of the line that the figures to beat were measured with. */
const VERSION = { server: '1.7.12', sdk: '1.17.2' }
const MEGABYTES = 240
const STARTS_WITHIN = 60_000

export type Restate = {
  three(): Promise<unknown>
  fan(count: number): Promise<unknown>
  /** ms from the signal sent to the result in hand */
  signalToResult(): Promise<number>
  /** ms a step */
  steps(count: number): Promise<number>
  /** How late each of 200 timers of 1 s was, ms. */
  timersLate(): Promise<number[]>
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', resolve)
  })

/** Its server and SDK, in the folder where Refold keeps what it downloads. */
async function installed(): Promise<string> {
  const folder = path.join(cacheFolder(), `restate-${VERSION.server}-${VERSION.sdk}`)
  const complete = path.join(folder, 'complete')
  if (existsSync(complete)) return folder
  await mkdir(folder, { recursive: true })
  await writeFile(path.join(folder, 'package.json'), '{ "private": true }\n')
  say(`  Restate ${VERSION.server}: installing about ${MEGABYTES} MB with npm`)
  const packages = [`@restatedev/restate-server@${VERSION.server}`, `@restatedev/restate-sdk@${VERSION.sdk}`]
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', folder, ...packages]
  const code = await ended(spawn('npm', args, { stdio: ['ignore', 'ignore', 'inherit'] }))
  if (code !== 0) throw new Error(`npm could not install Restate (code ${code})`)
  await writeFile(complete, '')
  return folder
}

/** Started for this bench, ended with its ground. */
export async function startRestate(ground: Ground): Promise<Restate> {
  const folder = await installed()
  const data = await mkdtemp(path.join(os.tmpdir(), 'refold-bench-restate-'))
  ground.owns(() => rm(data, { recursive: true, force: true }))
  const taken = new Set<number>()
  const [ingress, admin, node, service] = [
    await freePort(18_080, taken),
    await freePort(19_070, taken),
    await freePort(15_122, taken),
    await freePort(19_080, taken),
  ]
  const output = await open(path.join(data, 'log'), 'a')
  ground.owns(() => output.close())
  function begin(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): void {
    const child = spawn(command, args, { stdio: ['ignore', output.fd, output.fd], env: { ...process.env, ...env } })
    const over = ended(child).catch(() => undefined)
    ground.owns(() => {
      child.kill('SIGTERM')
      return over
    })
  }
  const arch = `${process.platform}-${process.arch}`
  begin(
    path.join(folder, 'node_modules', '@restatedev', `restate-server-${arch}`, 'bin', 'restate-server'),
    ['--base-dir', data, '--node-name', 'bench', '--listen-mode', 'tcp', '--bind-ip', HOST, '--bind-port', String(node)],
    {
      RESTATE_INGRESS__BIND_ADDRESS: `${HOST}:${ingress}`,
      RESTATE_ADMIN__BIND_ADDRESS: `${HOST}:${admin}`,
      RESTATE_DISABLE_TELEMETRY: 'true',
      RUST_LOG: 'warn',
    },
  )
  begin(process.execPath, [path.join(import.meta.dirname, 'restate-service.ts'), folder, String(service)])
  const until = performance.now() + STARTS_WITHIN
  for (;;) {
    try {
      await askJson(`http://${HOST}:${admin}`, 'POST', '/deployments', { uri: `http://${HOST}:${service}` })
      break
    } catch (cause) {
      if (performance.now() > until) throw new Error(`Restate did not start:\n${await readFile(path.join(data, 'log'), 'utf8')}`, { cause })
      await pause(200)
    }
  }
  const ask = <T>(name: string, input: object = {}) => askJson<T>(`http://${HOST}:${ingress}`, 'POST', `/${name}`, input)
  return {
    three: () => ask('bench/three'),
    fan: (count) => ask('bench/fan', { count }),
    async signalToResult() {
      const key = randomUUID()
      const result = ask(`signal/${key}/run`)
      await settled()
      return timed(async () => {
        await ask(`signal/${key}/go`)
        await result
      })
    },
    steps: (count) => ask('bench/steps', { count }),
    timersLate: () => Promise.all(Array.from({ length: 200 }, () => ask<number>('bench/timer'))),
  }
}
