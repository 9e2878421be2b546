// A stack of its own for tests that kill servers, beside the one the other tests share.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { down, type Kind, up } from '../../stack/stack.ts'
import { readState, type ServerName } from '../../stack/state.ts'
import { until } from './wait.ts'

export type OwnStack = {
  folder: string
  brokers: string[]
  registryUrl: string
  databaseUrl: string
  redisUrl: string
  /** kill -9 of one server; resolves when it is gone. */
  kill(name: ServerName): Promise<void>
  /** Starts again what was killed, on its old port. */
  restore(kind: Kind): Promise<void>
}

const ROOT = path.join(import.meta.dirname, '..', '..')

/** A folder for a stack of one test; at its end the servers in it are ended and it is removed. Not a fixture of tap: those go first. */
export function ownFolder(t: Test): string {
  mkdirSync(path.join(ROOT, '.refold'), { recursive: true })
  const folder = mkdtempSync(path.join(ROOT, '.refold', 'own-'))
  t.teardown(async () => {
    await down(folder, () => undefined, { erase: true })
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

/** Ports of this test process's own stacks: apart from others', which would take a killed server's while it is away. */
export const OWN_PORTS = 10_000 + (process.pid % 40) * 300

/** Up when this resolves; down, with its data gone, when the test ends. */
export async function ownStack(t: Test, { brokers = 1 }: { brokers?: 1 | 3 } = {}): Promise<OwnStack> {
  const folder = ownFolder(t)
  const quiet = () => undefined
  await up({ folder, say: (line) => t.comment(line), env: {}, brokers, portsFrom: OWN_PORTS })
  const servers = () => readState(folder)?.servers ?? {}
  const address = (name: ServerName): string => servers()[name]?.address ?? ''
  const names: ServerName[] = brokers === 3 ? ['kafka', 'kafka-2', 'kafka-3'] : ['kafka']
  return {
    folder,
    brokers: names.map(address),
    registryUrl: address('registry'),
    databaseUrl: address('postgres'),
    redisUrl: address('redis'),
    async kill(name) {
      const pid = servers()[name]?.pid
      if (pid === undefined) throw new Error(`${name} does not run`)
      process.kill(pid, 'SIGKILL')
      await until(() => !isRunning(pid), { what: `${name} to be gone` })
    },
    async restore(kind) {
      await until(
        () =>
          up({ folder, say: quiet, env: {}, kinds: [kind], brokers, portsFrom: OWN_PORTS }).then(
            () => true,
            () => false,
          ),
        {
          within: 90_000,
          every: 500,
          what: `${kind} to be up again`,
        },
      )
    },
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
