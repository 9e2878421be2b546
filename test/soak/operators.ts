// What persons do in the soak of a rebuild, and the processes of theirs that are killed.

import path from 'node:path'
import { launchRefold, type RefoldProcess, startCommand } from '../support/refold-process.ts'
import type { Rest } from '../support/rest.ts'
import { until } from '../support/wait.ts'
import { endFault } from './ends.ts'

const APP = path.join(import.meta.dirname, '..', 'support', 'projection-app.ts')
const JSON_BODY = { 'content-type': 'application/json' }

export type Operation = {
  state: string
  generation: number
  comparison: { differing: number; partitions: { differing: number; shown: { kind: string; key: { execution: string } }[] }[] } | null
}

/** The processes of which any may die, and what a person does with them. */
export class Operators {
  readonly #env: NodeJS.ProcessEnv
  readonly #rest: Rest
  readonly killed: string[] = []
  /** Ends that were no kill, and those of who was stopped that were not clean. */
  readonly faults: string[] = []
  readonly #running = new Map<string, { process: RefoldProcess; start: () => Promise<RefoldProcess> }>()

  constructor(env: NodeJS.ProcessEnv, rest: Rest) {
    this.#env = env
    this.#rest = rest
  }

  /** The one under that name is ended first, as an operator would. */
  async start(name: 'projector' | 'api', code = '1'): Promise<void> {
    await this.#end(name)
    const start = () => launchRefold(this.#env, name, name === 'projector' ? { app: APP, env: { PROJECTION_CODE: code } } : {}).running
    this.#running.set(name, { process: await start(), start })
  }

  async kill(name: 'projector' | 'api', during: string): Promise<void> {
    const one = this.#running.get(name)
    if (!one) throw new Error(`no ${name} runs`)
    this.#expectAlive(name, one.process)
    await one.process.kill()
    this.killed.push(`${name}, ${during}`)
    one.process = await one.start()
  }

  /** What a person types; the terminal that follows it is killed by kill -9 once the server has heard of it. */
  async typeAndDie(verb: string, during: string): Promise<string> {
    const url = this.#running.get('api')?.process.url
    const { child } = startCommand(['projection', verb, 'cases', '--wait'], { ...this.#env, REFOLD_API_URL: url })
    const id = await new Promise<string>((resolve, reject) => {
      let text = ''
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        const found = /"operation":"([^"]+)"/.exec(text)?.[1]
        if (found !== undefined) resolve(found)
      })
      child.once('close', () => reject(new Error(`projection ${verb}: ${text}`)))
    })
    child.kill('SIGKILL')
    this.killed.push(`terminal, ${during}`)
    return id
  }

  async ask(verb: string): Promise<string> {
    const answer = await this.#rest.post(`/v1/projections/cases/${verb}`, '{}', JSON_BODY)
    if (answer.status !== 202) throw new Error(`${verb}: ${answer.text}`)
    return (answer.json() as { operation: string }).operation
  }

  reached(id: string, state: string): Promise<Operation> {
    let last: Operation | undefined
    return until(
      async () => {
        last = (await this.#rest.get(`/v1/operations/${id}`)).json() as Operation
        return last.state === state && last
      },
      { within: 300_000, every: 50, what: () => `${state}, not ${JSON.stringify(last)}` },
    )
  }

  /** Until it is under way; gives the state in which it is then. */
  async underWay(id: string): Promise<string> {
    return until(
      async () => {
        const { state } = (await this.#rest.get(`/v1/operations/${id}`)).json() as Operation
        return state !== 'requested' && state
      },
      { within: 60_000, what: 'the operation to be taken up' },
    )
  }

  async live(): Promise<{ liveGeneration: number; lag: number }> {
    return (await this.#rest.get('/v1/projections/cases')).json() as { liveGeneration: number; lag: number }
  }

  /** What is not live goes, so that one generation is folded beside a build. */
  async retire(): Promise<void> {
    const answer = await this.#rest.post('/v1/projections/cases/retire', '{}', JSON_BODY)
    if (answer.status !== 202) throw new Error(`retire: ${answer.text}`)
  }

  async #end(name: string): Promise<void> {
    const one = this.#running.get(name)?.process
    if (!one) return
    this.#running.delete(name)
    this.#expectAlive(name, one)
    const code = await one.stop()
    const signal = one.child.signalCode
    const fault = endFault({ name, code, signal, isStopped: true, isUp: true, tail: one.tail() })
    if (fault !== undefined) this.faults.push(fault)
  }

  /** Nobody but us ends one. */
  #expectAlive(name: string, { child: { exitCode: code, signalCode: signal }, tail }: RefoldProcess): void {
    if (code !== null || signal !== null) this.faults.push(`${name} ended by itself with ${signal ?? code}: ${tail()}`)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.#end(name)))
  }
}
