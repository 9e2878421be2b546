// Processes of Refold that are killed and come back: each is started again whenever it dies, with the next planned fault if there is one.

import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = path.join(import.meta.dirname, '..', '..')
const APP = path.join(ROOT, 'test', 'support', 'random-app.ts')

export type Kind = 'recorder' | 'runtime' | 'worker'

function tallyOf(line: string): Record<string, number> {
  const { level: _, time: __, pid: ___, ...counts } = JSON.parse(line) as Record<string, unknown>
  return Object.fromEntries(Object.entries(counts).filter((pair): pair is [string, number] => typeof pair[1] === 'number'))
}

/** A process that is started again whenever it dies. */
export class Kept {
  readonly kind: Kind
  readonly name: string
  readonly #env: NodeJS.ProcessEnv
  readonly #lines: string[] = []
  #child: ChildProcess | undefined
  #faults: string[] = []
  #stopping = false
  isUp = false
  deaths = 0
  /** What a worker said when it was stopped. */
  tally: Record<string, number> = {}
  /** Every process that ran under this name and was killed, and when (ms); one that ended by itself is none. */
  readonly killed: { pid: number; at: number }[] = []
  url = ''

  constructor(kind: Kind, name: string, env: NodeJS.ProcessEnv) {
    this.kind = kind
    this.name = name
    this.#env = env
  }

  /** The next start carries out this fault. */
  plan(fault: string): void {
    this.#faults.push(fault)
  }

  /** What was planned and has not begun is not carried out. */
  unplan(): void {
    this.#faults = []
  }

  start(roles: string): void {
    this.isUp = false
    const fault = this.#faults.shift()
    const env = fault === undefined ? this.#env : { ...this.#env, REFOLD_FAULTS: fault }
    const args = ['--disable-warning=TimeoutNegativeWarning', path.join(ROOT, 'cli', 'main.ts'), 'start', '--roles', roles, '--app', APP]
    const child = spawn(process.execPath, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    const hear = (line: string) => {
      this.#lines.push(line)
      if (this.#lines.length > 50) this.#lines.shift()
      if (line.includes('"worker stopped"')) this.tally = tallyOf(line)
      if (!line.includes('"running;')) return
      this.isUp = true
      this.url = (JSON.parse(line) as { url?: string }).url ?? ''
    }
    createInterface({ input: child.stdout }).on('line', hear)
    createInterface({ input: child.stderr }).on('line', hear)
    child.once('exit', (_, signal) => {
      if (child.pid !== undefined && signal === 'SIGKILL') this.killed.push({ pid: child.pid, at: Date.now() })
    })
    child.once('close', () => {
      this.isUp = false
      if (this.#stopping) return
      this.deaths++
      this.start(roles)
    })
  }

  kill(): void {
    // Else it could be chosen again before it has closed, and that kill would count for nothing.
    this.isUp = false
    this.#child?.kill('SIGKILL')
  }

  /** As an operator stops it; resolves with its exit code. */
  async stop(): Promise<number | null> {
    this.#stopping = true
    const child = this.#child
    // A fault that was planned may have killed it while it drained: it closes once only.
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
    const closed = new Promise<number | null>((resolve) => child.once('close', resolve))
    child.kill('SIGTERM')
    return closed
  }

  get tail(): string {
    return this.#lines.slice(-8).join('\n')
  }
}
