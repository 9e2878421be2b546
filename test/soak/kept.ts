// Processes of Refold that are killed and come back: each is started again whenever it dies, with the next planned fault if there is one.

import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { FaultPoint } from '../../faults.ts'
import { endFault } from './ends.ts'

const ROOT = path.join(import.meta.dirname, '..', '..')
const APP = path.join(ROOT, 'test', 'support', 'random-app.ts')

export type Role = 'api' | 'recorder' | 'runtime' | 'worker' | 'notifier'

function tallyOf(line: string): Record<string, number> {
  const { level: _, time: __, pid: ___, ...counts } = JSON.parse(line) as Record<string, unknown>
  return Object.fromEntries(Object.entries(counts).filter((pair): pair is [string, number] => typeof pair[1] === 'number'))
}

/** A process that is started again whenever it dies. */
export class Kept {
  readonly name: string
  readonly roles: readonly Role[]
  readonly #env: NodeJS.ProcessEnv
  readonly #lines: string[] = []
  #child: ChildProcess | undefined
  #closed: Promise<void> = Promise.resolve()
  #planned: string[] = []
  #isStopped = false
  isUp = false
  /** What a worker said when it was stopped. */
  tally: Record<string, number> = {}
  /** Every process that ran under this name and was killed, and when (ms); one that ended by itself is none. */
  readonly killed: { pid: number; at: number }[] = []
  /** Ends that were no kill and that nobody asked for, and of who was stopped, those that were not clean. */
  readonly faults: string[] = []
  url = ''

  constructor(name: string, roles: readonly Role[], env: NodeJS.ProcessEnv) {
    this.name = name
    this.roles = roles
    this.#env = env
  }

  /** Whether a process of these roles comes to that point. */
  reaches(point: FaultPoint): boolean {
    return this.roles.some((role) => point.startsWith(`${role}:`))
  }

  /** The next start carries out this fault. */
  plan(fault: string): void {
    this.#planned.push(fault)
  }

  /** What was planned and has not begun is not carried out. */
  unplan(): void {
    this.#planned = []
  }

  start(): void {
    this.isUp = false
    this.#lines.length = 0
    const fault = this.#planned.shift()
    const env = fault === undefined ? this.#env : { ...this.#env, REFOLD_FAULTS: fault }
    const main = path.join(ROOT, 'cli', 'main.ts')
    const args = ['--disable-warning=TimeoutNegativeWarning', main, 'start', '--roles', this.roles.join(','), '--app', APP]
    const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    let wasUp = false
    const hear = (line: string) => {
      this.#lines.push(line)
      if (this.#lines.length > 50) this.#lines.shift()
      if (line.includes('"worker stopped"')) this.tally = tallyOf(line)
      if (!line.includes('"running;')) return
      this.isUp = wasUp = true
      this.url = (JSON.parse(line) as { url?: string }).url ?? ''
    }
    createInterface({ input: child.stdout }).on('line', hear)
    createInterface({ input: child.stderr }).on('line', hear)
    child.once('exit', (_, signal) => {
      this.isUp = false
      if (child.pid !== undefined && signal === 'SIGKILL') this.killed.push({ pid: child.pid, at: Date.now() })
    })
    this.#closed = new Promise((resolve) =>
      child.once('close', (code, signal) => {
        this.isUp = false
        const { name, tail } = this
        const wrong = endFault({ name, code, signal, isStopped: this.#isStopped, isUp: wasUp, tail })
        if (wrong !== undefined) this.faults.push(wrong)
        resolve()
        if (!this.#isStopped) this.start()
      }),
    )
  }

  kill(): void {
    // Else it could be chosen again before it has closed, and that kill would count for nothing.
    this.isUp = false
    this.#child?.kill('SIGKILL')
  }

  /** As an operator stops it. */
  async stop(): Promise<void> {
    this.#isStopped = true
    // Once: a second signal ends it at once. A fault that was planned may have killed it already.
    const { exitCode = null, signalCode = null, killed = true } = this.#child ?? {}
    if (exitCode === null && signalCode === null && !killed) this.#child?.kill('SIGTERM')
    return this.#closed
  }

  get tail(): string {
    return this.#lines.slice(-20).join('\n')
  }
}
