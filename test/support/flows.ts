// What tests of workflows on real servers have in common: an installation with the ledger, and REST in words.

import { execFile } from 'node:child_process'
import path from 'node:path'
import type { Test } from 'tap'
import { LEDGER } from './random-app.ts'
import { type Installation, type RefoldProcess, startRefold, useInstallation } from './refold-process.ts'
import { type Rest, restOf } from './rest.ts'
import { useStack } from './stack.ts'
import { until } from './wait.ts'

export const FLOW_APP = path.join(import.meta.dirname, 'flow-app.ts')

export type Execution = { executionId: string; status: string; currentState: string; result: unknown; error: unknown; lastSeq: number }
export type Diagnosis = {
  cause: string
  summary: string
  evidence: Record<string, unknown>
  byItself: string
  youCan: string[]
  also: string[]
}

export type Flows = {
  installation: Installation
  rest: Rest
  /** A process with these roles and the application of flow-app.ts. */
  process: (roles: string, env?: NodeJS.ProcessEnv) => Promise<RefoldProcess>
  start: (workflow: string, input?: unknown, version?: string) => Promise<string>
  signal: (id: string, name: string, payload?: unknown) => Promise<void>
  ask: (id: string, verb: string) => Promise<number>
  show: (id: string) => Promise<Execution>
  ended: (id: string, within?: number) => Promise<Execution>
  diagnosis: (id: string) => Promise<Diagnosis>
  /** Until the diagnosis names this cause. */
  diagnosed: (id: string, cause: string, within?: number) => Promise<Diagnosis>
  /** `refold check-deploy`, as on a terminal. */
  checkDeploy: (app: string, env?: NodeJS.ProcessEnv, ...args: string[]) => Promise<{ code: number; stdout: string; stderr: string }>
}

const JSON_BODY = { 'content-type': 'application/json' }

/** undefined where a server is missing; the test is skipped then. API and recorder run. */
export async function useFlows(t: Test, env: NodeJS.ProcessEnv = {}): Promise<Flows | undefined> {
  const stack = useStack(t, ['kafka', 'registry', 'postgres', 'redis'])
  if (!stack.databaseUrl) return undefined
  const installation = await useInstallation(t, stack, 'token=tenant')
  await installation.database.admin.query(LEDGER)
  Object.assign(installation.env, {
    REFOLD_TEST_LEDGER: installation.database.url,
    REFOLD_GROUP_SESSION: '3000',
    REFOLD_GROUP_HEARTBEAT: '500',
    ...env,
  })
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  const json = async <T>(path_: string) => (await rest.get(path_)).json() as T
  const flows: Flows = {
    installation,
    rest,
    process: (roles, more = {}) => startRefold(t, installation, roles, { app: FLOW_APP, env: more }),
    async start(workflow, input, version = '1') {
      const answer = await rest.post('/v1/executions', JSON.stringify({ workflow, version, input }), JSON_BODY)
      if (answer.status !== 202) throw new Error(`start of ${workflow}: ${answer.status} ${answer.text}`)
      return (answer.json() as { executionId: string }).executionId
    },
    async signal(id, name, payload) {
      const answer = await rest.send([{ execution_id: id, event_name: name, payload }])
      if (answer.status !== 202) throw new Error(`signal to ${id}: ${answer.status} ${answer.text}`)
    },
    ask: async (id, verb) => (await rest.post(`/v1/executions/${id}/${verb}`, '{}', JSON_BODY)).status,
    show: (id) => json<Execution>(`/v1/executions/${id}`),
    ended: (id, within = 30_000) =>
      until(
        async () => {
          const one = await flows.show(id)
          return ['completed', 'failed', 'cancelled', 'terminated'].includes(one.status) && one
        },
        { within, every: 50, what: `${id} to end` },
      ),
    checkDeploy: (app, more = {}, ...args) =>
      new Promise((resolve) => {
        const argv = [path.join(import.meta.dirname, '..', '..', 'cli', 'main.ts'), 'check-deploy', '--app', app, ...args]
        const all = { ...installation.env, REFOLD_API_URL: url, REFOLD_API_TOKEN: 'token', ...more }
        execFile(process.execPath, argv, { env: all }, (error, stdout, stderr) =>
          resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
        )
      }),
    diagnosis: (id) => json<Diagnosis>(`/v1/executions/${id}/diagnosis`),
    diagnosed: (id, cause, within = 30_000) => {
      let last: Diagnosis | undefined
      return until(
        async () => {
          last = await flows.diagnosis(id)
          return last.cause === cause && last
        },
        { within, every: 100, what: () => `${cause} of ${id}, not ${JSON.stringify(last)}` },
      )
    },
  }
  return flows
}
