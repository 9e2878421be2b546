// The driven executions that are open, and their histories: of the token's tenant, over REST; or of every tenant, from the database.
//
// No token sees two tenants. Who may read all of them is who has the database: it says which tenants there are, and each is then read
// in transactions of its own, under row-level security, as REST reads it.

import { z } from 'zod'
import type { ExecutionRow } from '../../postgres/reads/executions.ts'
import type { Client } from '../client.ts'
import { openClient, segment } from '../output.ts'

const execution = z.object({
  executionId: z.string(),
  tenant: z.string(),
  workflow: z.string().nullable(),
  version: z.string().nullable(),
  key: z.string().nullable(),
})
const page = z.object({ executions: z.array(execution), nextCursor: z.string().nullable() })

export type Open = z.infer<typeof execution>

export type OpenExecutions = {
  /** Every open one, and how its history is had: the server's JSON, an array. */
  each: () => AsyncIterable<{ one: Open; history: () => Promise<string> }>
  close: () => Promise<void>
}

const OPEN = ['running', 'paused'] as const
const PAGE = 500
const EVENTS = 1000

/** Every event of an execution, as the server's JSON: an array. */
export async function historyOf(client: Client, executionId: string): Promise<string> {
  const { cutMember, elementsOf } = await import('../../api/raw-json.ts')
  const events: string[] = []
  for (let after: number | null = 0; after !== null;) {
    const { text } = await client.call(`/v1/executions/${segment(executionId)}/events`, { query: { after, limit: EVENTS } })
    const cut = cutMember(text, 'events')
    const found = elementsOf(cut.source ?? '[]')
    if ('elements' in found) events.push(...found.elements)
    after = z.object({ next: z.number().nullable() }).parse(JSON.parse(cut.rest)).next
  }
  return `[\n${events.join(',\n')}\n]`
}

/** Of the tenant whose token is used. */
export async function openOfToken(): Promise<OpenExecutions> {
  const client = await openClient()
  return {
    async *each() {
      for (const status of OPEN) {
        let cursor: string | undefined
        do {
          const got = await client.get('v1/executions', page, { status, limit: PAGE, cursor })
          for (const one of got.executions) if (one.version !== null) yield { one, history: () => historyOf(client, one.executionId) }
          cursor = got.nextCursor ?? undefined
        } while (cursor !== undefined)
      }
    },
    close: async () => undefined,
  }
}

const openOf = (row: ExecutionRow): Open => ({
  executionId: row.execution_id,
  tenant: row.tenant,
  workflow: row.workflow_name,
  version: row.workflow_version,
  key: row.business_key,
})

async function databaseUrlOf(): Promise<string> {
  const [{ readConfig }, { readState, stackFolder }, { knownAddresses }, { RefoldError }] = await Promise.all([
    import('../../config.ts'),
    import('../../stack/state.ts'),
    import('../doctor.ts'),
    import('../../errors.ts'),
  ])
  const { databaseUrl } = knownAddresses(readConfig(process.env), readState(stackFolder(process.env)))
  if (databaseUrl === undefined) throw new RefoldError('stack-not-running', 'the address of postgres is not known')
  return databaseUrl
}

/** Of every tenant, from the database of DATABASE_URL. */
export async function openOfAll(): Promise<OpenExecutions> {
  const [{ createReadPool }, { createReads }, { readOpenTenants }, { eventJson }] = await Promise.all([
    import('../../postgres/reads/pool.ts'),
    import('../../postgres/reads/reads.ts'),
    import('../../postgres/open-tenants.ts'),
    import('../../api/reading.ts'),
  ])
  const databaseUrl = await databaseUrlOf()
  const tenants = await readOpenTenants(databaseUrl)
  const pool = createReadPool(databaseUrl, { max: 1, name: 'refold-check-deploy' })
  const reads = createReads(pool)

  async function history({ tenant, execution_id: id, partition }: ExecutionRow): Promise<string> {
    const events: string[] = []
    for (let after = 0; ;) {
      const { value: rows = [] } = await reads.history(tenant, id, partition, { after, limit: EVENTS })
      events.push(...rows.map(eventJson))
      if (rows.length < EVENTS) return `[${events.join(',')}]`
      after = Number(rows.at(-1)?.seq)
    }
  }

  return {
    async *each() {
      for (const tenant of tenants)
        for (const status of OPEN) {
          let after: Parameters<typeof reads.executions>[1]['after']
          do {
            const { value } = await reads.executions(tenant, { status, limit: PAGE, after })
            for (const row of value.rows) if (row.workflow_version !== null) yield { one: openOf(row), history: () => history(row) }
            after = value.next
          } while (after !== undefined)
        }
    },
    close: () => pool.close(),
  }
}
