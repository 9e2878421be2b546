// An installation with the projections of projection-app.ts, and how a person acts on them over REST.

import path from 'node:path'
import type { Test } from 'tap'
import { type Installation, type RefoldProcess, startRefold, useInstallation } from './refold-process.ts'
import { type Rest, restOf } from './rest.ts'
import { useStack } from './stack.ts'
import { until } from './wait.ts'

export const APP = path.join(import.meta.dirname, 'projection-app.ts')
export const STATES = ['placed', 'paid', 'packed', 'sent']
/** As the sender says, which is not as the fold computes it. */
const cameFrom = (state: string) => (state === 'packed' ? '' : `before ${state}`)
const JSON_BODY = { 'content-type': 'application/json' }

export type Operation = {
  id: string
  state: string
  generation: number
  progress: { parked?: string[] }
  log: { line: string }[]
  comparison: { differing: number; partitions: { shown: { kind: string; key: { execution: string } }[] }[] } | null
}
type Shown = {
  liveGeneration: number
  lag: number
  generations: { generation: number; state: string; parked: string[] }[]
  operation: string | null
  parked: string[]
  foldedBy: number | null
}

export type World = {
  installation: Installation
  url: string
  rest: Rest
  brokers: string[]
  project: (code?: string, env?: NodeJS.ProcessEnv) => Promise<RefoldProcess>
  /** Sends events of so many executions, each state once, beginning with number `first`. */
  send: (first: number, executions: number) => Promise<void>
  show: (name: string) => Promise<Shown>
  /** Until the live generation has folded all that is recorded, and that is all that was sent. */
  caughtUp: (name: string, total: number) => Promise<void>
  ask: (name: string, verb: string, body?: object) => Promise<{ status: number; operation: string; detail: string }>
  operation: (id: string, state: string) => Promise<Operation>
}

export const executionOf = (n: number) => `0b8f1c7e-5d1e-4c3a-9a44-${n.toString(16).padStart(12, '0')}`

export async function useWorld(t: Test): Promise<World | undefined> {
  const stack = useStack(t, ['kafka', 'registry', 'postgres'])
  if (!stack.databaseUrl) return undefined
  const installation = await useInstallation(t, stack, 'token=tenant')
  Object.assign(installation.env, {
    REFOLD_GROUP_SESSION: '1500',
    REFOLD_GROUP_HEARTBEAT: '300',
    REFOLD_OPERATOR_TOKENS: 'token',
    REFOLD_PROJECTOR_BATCH: '200',
  })
  const { url } = await startRefold(t, installation, 'api,recorder')
  const rest = restOf(url, 'token')
  const world: World = {
    installation,
    url,
    rest,
    brokers: stack.kafkaBrokers,
    project: (code = '1', env = {}) => startRefold(t, installation, 'projector', { app: APP, env: { PROJECTION_CODE: code, ...env } }),
    async send(first, executions) {
      for (let at = 0; at < executions; at += 100) {
        const events = Array.from({ length: Math.min(100, executions - at) }, (_, i) => first + at + i).flatMap((n) =>
          STATES.map((to_state) => ({
            execution_id: executionOf(n),
            event_name: `case.${to_state}`,
            from_state: cameFrom(to_state),
            to_state,
            payload: { amount: n },
          })),
        )
        const answer = await rest.send(events)
        if (answer.status !== 202) throw new Error(`${answer.status} ${answer.text}`)
      }
    },
    show: async (name) => (await rest.get(`/v1/projections/${name}`)).json() as Shown,
    async caughtUp(name, total) {
      await until(
        async () => {
          const { rows } = await installation.database.admin.query<{ n: string }>('SELECT count(*) AS n FROM refold.workflow_events')
          const shown = await world.show(name)
          return Number(rows[0]?.n) === total && shown.lag === 0
        },
        { within: 90_000, every: 100, what: `${name} to fold ${total} events` },
      )
    },
    async ask(name, verb, body = {}) {
      const answer = await rest.post(`/v1/projections/${name}/${verb}`, JSON.stringify(body), JSON_BODY)
      return { status: answer.status, ...(answer.json() as { operation: string; detail: string }) }
    },
    operation: (id, state) => {
      let last: Operation | undefined
      return until(
        async () => {
          last = (await rest.get(`/v1/operations/${id}`)).json() as Operation
          return last.state === state && last
        },
        { within: 90_000, every: 100, what: () => `operation ${id} to be ${state}, not ${JSON.stringify(last)}` },
      )
    },
  }
  return world
}
