// GET /v1/verdicts/{position}: what was said of one record, and what is kept of it. POST …/redrive: appended once more.
//
// A record belongs to the tenant that could be read from it; one of nobody's is shown to operators, and redriven by them.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import type { JudgedRow } from '../postgres/reads/verdicts.ts'
import { whyNotAgain } from '../producers/redrive.ts'
import { formatPosition, type Position } from '../workflow/position.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { answers, read, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'
import type { Gap } from './watermarks.ts'

const bytesOf = (base64: string | null) => (base64 === null ? null : Buffer.from(base64, 'base64'))
const keptOf = ({ record_key, record_value }: JudgedRow) => ({ key: bytesOf(record_key), value: bytesOf(record_value) })

/** What the verdict itself says. */
const saying = ({ verdict, seq, reason, detail }: JudgedRow) =>
  seq === null ? { verdict, reason: reason ?? '', detail: detail ?? '' } : { verdict, seq: Number(seq) }

function judgedJson(position: Position, row: JudgedRow) {
  const { tenant, execution_id, event_id, event_name, appended_at, decided_at } = row
  const record = { key: row.record_key, value: row.record_value }
  return {
    position: formatPosition(position),
    ...saying(row),
    tenant,
    execution_id,
    event_id,
    event_name,
    appended_at,
    ...(decided_at === null ? {} : { decided_at, record, redrivable: isRedrivable(row) }),
  }
}

const isRedrivable = (row: JudgedRow) => row.verdict !== 'duplicate' && whyNotAgain(keptOf(row)) === undefined

export type RedriveOptions = ReadOptions & Pick<ApiDeps, 'redriver'>

export async function redriveRoutes(scope: FastifyInstance, options: RedriveOptions): Promise<void> {
  const { reads, watermarks, partitions, redriver } = options
  const routes = scope.withTypeProvider<ZodTypeProvider>()
  const params = z.object({ position: shapes.onePosition })

  /** Row-level security and the query let through what concerns this request only; here it is looked at once more. */
  async function verdictAt({ tenant, operator }: FastifyRequest, position: Position) {
    const { value, checkpoints } = await reads.verdict(tenant, position, operator)
    return { value: value && (value.tenant === tenant || (operator && value.tenant === null)) ? value : undefined, checkpoints }
  }

  /** Waits for the verdict as long as `Prefer` says; undefined without that header. */
  async function preferWait(request: FastifyRequest, reply: FastifyReply, { partition, offset }: Position): Promise<Gap[] | undefined> {
    const wait = preferredWait(request.headers.prefer)
    if (wait === undefined) return undefined
    void reply.header('preference-applied', `wait=${wait}`)
    return watermarks.wait(new Map([[partition, offset]]), wait * 1000)
  }

  /** The new record's verdict, as far as it is known. Postgres away: the append stands, its verdict is pending. */
  async function outcomeOf(request: FastifyRequest, reply: FastifyReply, position: Position): Promise<Partial<ReturnType<typeof saying>>> {
    try {
      const gap = await preferWait(request, reply, position)
      if (gap === undefined || gap.length > 0) return { verdict: 'pending' }
      const { value } = await verdictAt(request, position)
      // Nobody's record that can be read by now may turn out to be another tenant's: nothing is told of it.
      return value ? saying(value) : {}
    } catch (error) {
      if (error instanceof RefoldError && error.code === 'database-unavailable') return { verdict: 'pending' }
      throw error
    }
  }

  routes.route({
    method: 'GET',
    url: '/v1/verdicts/:position',
    schema: {
      ...read,
      tags: ['verdicts'],
      summary: 'What became of the record at a position, and what is kept of one that was not accepted.',
      params,
      response: { 200: shapes.judged, ...answers, ...shapes.problems.missing },
    },
    handler: async (request, reply) => {
      const { position } = request.params
      if (position.partition >= partitions) throw none(position)
      await preferWait(request, reply, position)
      const { value, checkpoints } = await verdictAt(request, position)
      watermarks.mark(reply, checkpoints)
      if (!value && (checkpoints.get(position.partition) ?? 0) > position.offset) throw none(position)
      const answer = value ? judgedJson(position, value) : { position: formatPosition(position), verdict: 'pending' as const }
      return reply.send(answer as never)
    },
  })

  routes.route({
    method: 'POST',
    url: '/v1/verdicts/:position/redrive',
    schema: {
      headers: z.object({ prefer: z.string().optional().describe('`wait=N`: wait up to N seconds (at most 60) for the new verdict.') }),
      tags: ['verdicts'],
      summary: 'Append a record that was not accepted once more, as it was. Its verdict stays; the new record gets its own.',
      params,
      response: {
        202: shapes.redriven,
        ...shapes.problems.invalid,
        ...shapes.problems.auth,
        ...shapes.problems.missing,
        ...shapes.problems.notAgain,
        ...shapes.problems.large,
        ...shapes.problems.away,
      },
    },
    handler: async (request, reply) => {
      const { position: from } = request.params
      const { value: row } = await verdictAt(request, from)
      if (!row) throw none(from)
      if (row.verdict === 'accepted' || row.verdict === 'duplicate') throw counted(from, row)
      const to = await redriver.redrive(keptOf(row))
      const position = formatPosition(to)
      request.log.info({ tenant: request.tenant, redriven: formatPosition(from), position }, 'record redriven')
      void reply.code(202).header('refold-position', position).header('location', `/v1/verdicts/${position}`)
      const answer = { redriven: formatPosition(from), position, ...(await outcomeOf(request, reply, to)) }
      return reply.send(answer as never)
    },
  })
}

/** The same for a record that is not judged, was never there, or is another tenant's. */
const none = (position: Position) => new RefoldError('not-found', `no verdict at ${formatPosition(position)}`)

function counted(position: Position, { verdict }: JudgedRow): RefoldError {
  const why = verdict === 'accepted' ? 'it was accepted' : 'it is a duplicate: its event counts already, and its bytes are not kept'
  return new RefoldError('redrive-impossible', `${formatPosition(position)}: ${why}`)
}
