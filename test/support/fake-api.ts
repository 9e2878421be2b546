// An API over parts held in memory: an appender that keeps what it is given, reads that give what they are told.

import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { Test } from 'tap'
import { type ApiLimits, createApi } from '../../api/api.ts'
import type { ApiDeps, Part, Reads } from '../../api/ports.ts'
import { createEndings } from '../../consumers/endings.ts'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { partitionOf } from '../../workflow/partition.ts'

export const PARTITIONS = 12
export const TOKEN = 'token-of-a'
export const TENANT = 'tenant-a'
export const OTHER_TOKEN = 'token-of-b'
export const OTHER_TENANT = 'tenant-b'

export type FakeApi = {
  app: FastifyInstance
  /** In order of append. */
  appended: { event: WorkflowEvent; headers: Readonly<Record<string, string>> | undefined }[]
  /** Partition → checkpoint of the recorder. */
  checkpoints: Map<number, number>
  /** May be replaced while the API runs. */
  reads: Reads
  parts: Part[]
  /** Requests that have come in over the network. */
  requests: number
  /** Called before each append; may throw or wait. */
  onAppend: (event: WorkflowEvent) => void | Promise<void>
  /** Sends a request as tenant A. */
  send: (request: string | InjectOptions) => Promise<LightMyRequestResponse>
}

const nothing = (checkpoints: ReadonlyMap<number, number>): Reads => ({
  actions: async () => ({ value: undefined, checkpoints }),
  openWork: async () => ({ actions: [], timers: [], waits: [], unanswered: [], newest: null, decisions: 0, pausedAt: null }),
  checkpoints: async () => checkpoints,
  execution: async () => ({ value: undefined, checkpoints }),
  executions: async () => ({ value: { rows: [] }, checkpoints }),
  history: async () => ({ value: undefined, checkpoints }),
  verdicts: async () => ({ value: new Map(), checkpoints }),
  state: async () => undefined,
  receipt: async () => ({ value: [], checkpoints }),
  contents: async () => new Map(),
  eventsAfter: async () => ({ value: { rows: [], next: new Map(), more: false }, checkpoints }),
  verdict: async () => ({ value: undefined, checkpoints }),
  snapshots: async () => ({ value: undefined, checkpoints }),
  incidents: async () => [],
  processes: async () => [],
  standing: async () => ({ incidents: [], processes: [], checkpoints: [], progress: [] }),
  ended: async () => [],
  projections: async () => [],
  projection: async () => null,
  rows: async () => null,
  rowsByKey: async () => null,
  generationSize: async () => 0,
  skips: async () => new Map(),
  operations: async () => [],
  operation: async () => null,
  refusals: async () => ({ value: { rows: [] }, checkpoints }),
})

export async function fakeApi(t: Test, { limits, ...more }: { limits?: ApiLimits } & Partial<ApiDeps> = {}): Promise<FakeApi> {
  const offsets = new Map<number, number>()
  const checkpoints = new Map<number, number>(Array.from({ length: PARTITIONS }, (_, partition) => [partition, 0]))
  const fake: Omit<FakeApi, 'app' | 'send'> = {
    appended: [],
    checkpoints,
    reads: nothing(checkpoints),
    parts: [{ name: 'log', ready: true }],
    requests: 0,
    onAppend: () => undefined,
  }
  const deps: ApiDeps = {
    tokens: new Map([
      [TOKEN, TENANT],
      [OTHER_TOKEN, OTHER_TENANT],
    ]),
    partitions: PARTITIONS,
    appender: {
      async append(event, headers) {
        await fake.onAppend(event)
        fake.appended.push({ event, headers })
        const partition = partitionOf(event.execution_id, PARTITIONS)
        const offset = offsets.get(partition) ?? 0
        offsets.set(partition, offset + 1)
        return { partition, offset }
      },
    },
    redriver: { redrive: async () => ({ partition: 0, offset: 0 }) },
    // Looked up at each call, so that a test may replace single reads.
    reads: new Proxy({} as Reads, { get: (_, name: keyof Reads) => fake.reads[name] }),
    endings: createEndings(),
    folds: [],
    projections: {
      open: async () => '',
      want: async () => '',
      stop: async () => undefined,
      withdraw: async () => ({ version: 1, withdrawn: 2 }),
      retire: async () => ({ generation: 1, outcome: 'dropped' }),
      skip: async () => [],
    },
    logEnds: async () => offsets,
    readiness: async () => fake.parts,
    ...more,
  }
  const app = createApi(deps, undefined, limits)
  await app.ready()
  t.teardown(() => app.close())
  // Async, so that the request starts at once; inject alone starts when it is awaited.
  const send = async (request: string | InjectOptions) => {
    const asked = typeof request === 'string' ? { url: request } : request
    return app.inject({ ...asked, headers: { authorization: `Bearer ${TOKEN}`, ...asked.headers } })
  }
  app.server.on('request', () => fake.requests++)
  return Object.assign(fake, { app, send })
}
