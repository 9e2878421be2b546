// What a workflow function writes to its logger. Told once: not in a replay, and not for an outcome that was fed ahead of the log
// until it is read back, since another may come in its place. Told again by whoever takes a partition over: of records above the checkpoint
// that was stored, which any execution of the partition may hold, and, of one that was parked, of events behind its last decision
// (consumers/driven.ts).

import type { LineLog } from './action.ts'
import type { ReplayOptions } from './replay.ts'

const NO_LOG: LineLog = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

export class AuthorLines {
  readonly logger: LineLog
  #held: (() => void)[] | undefined

  constructor({ workflow, executionId, logger = NO_LOG, replaying = () => false }: ReplayOptions) {
    const line = (level: keyof LineLog) => (facts: object, message: string) => {
      if (replaying()) return
      const tell = () => logger[level]({ ...facts, executionId, workflow: workflow.name }, message)
      if (this.#held) this.#held.push(tell)
      else tell()
    }
    this.logger = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  }

  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const tell of held) tell()
  }
}
