// GET …/rows/{key}/provenance: the events that made a row, and what each changed. The audit is folded again, for this key.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { placesOf } from '../postgres/reads/projections.ts'
import type { FoldProjection, PlainRow, TableDefinition } from '../projections/define.ts'
import type { ProjectionEvent } from '../projections/event.ts'
import { formatPosition } from '../workflow/position.ts'
import { openCursor, sealCursor } from './cursor.ts'
import { askedKey, foldEvent, foldOf, keyText, tableOf } from './folds.ts'
import type { ApiDeps } from './ports.ts'
import { answers, read, type ReadOptions, sendJson } from './reading.ts'
import * as shapes from './shapes.ts'

const PAGE = 1000
/** A page of the answer looks at events for so long, ms; then it ends, with fewer steps or none, and a cursor. */
const LOOKS_FOR = 1000

const place = z.object({
  generation: z.number(),
  after: z.array(z.tuple([z.number(), z.number()])),
  rows: z.array(z.tuple([z.number(), z.record(z.string(), z.unknown()).nullable()])),
})

/** What of a row an event changed: column → value before and after. A removed row has none after. */
function changed(before: PlainRow | null, after: PlainRow | null): Record<string, { from: unknown; to: unknown }> {
  const columns = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])
  const differing = [...columns].filter((column) => JSON.stringify(before?.[column]) !== JSON.stringify(after?.[column]))
  return Object.fromEntries(differing.map((column) => [column, { from: before?.[column] ?? null, to: after?.[column] ?? null }]))
}

type Step = { event: ProjectionEvent; before: PlainRow | null; after: PlainRow | null; error?: string; skipped?: string }

/** A row by its key, as `askedKey` gives it, and what of it is known. */
type Asked = { key: PlainRow; text: string; skips: ReadonlyMap<string, string> }

/** Folds one event into the row of this key, if it touches it, and a person did not let the projection pass it. */
function stepOf(fold: FoldProjection, { key, text, skips }: Asked, event: ProjectionEvent, before: PlainRow | null): Step | undefined {
  try {
    if (!fold.keys(event).some((one) => keyText(tableOf(fold), one) === text)) return undefined
    const skipped = skips.get(formatPosition(event))
    // Code that was mended since folds it, but the projector has passed it.
    if (skipped !== undefined) return { event, before, after: before, skipped }
    return { event, before, after: fold.evolve(before ?? fold.initial(key), event) }
  } catch (error) {
    // The projector stood here until a person let it pass: the row stayed as it was.
    return { event, before, after: before, error: error instanceof Error ? error.message : String(error) }
  }
}

/** As rows are shown: int64 as text. */
function shown({ columns }: TableDefinition, row: PlainRow | null): PlainRow | null {
  if (row === null) return null
  const text = (name: string, value: PlainRow[string]) => (columns[name] === 'bigint' && typeof value === 'number' ? String(value) : value)
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, text(name, value)]))
}

const stepJson = (table: TableDefinition, { event, before, after, error, skipped }: Step) => ({
  position: formatPosition(event),
  event_id: event.id,
  event_name: event.name,
  execution_id: event.executionId,
  seq: event.audit.seq,
  created_at: new Date(event.createdAt).toISOString(),
  changed: changed(shown(table, before), shown(table, after)),
  row: shown(table, after),
  ...(error === undefined ? {} : { error }),
  ...(skipped === undefined ? {} : { skipped }),
})

export async function provenanceRoutes(scope: FastifyInstance, { reads, folds }: ReadOptions & Pick<ApiDeps, 'folds'>): Promise<void> {
  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/projections/:name/rows/:key/provenance',
    schema: {
      ...read,
      tags: ['projections'],
      summary: 'The events that made a row of a fold, in the order of the log in each partition, and what each changed.',
      params: z.object({
        name: z.string().min(1).max(63).describe('Name of the projection.'),
        key: z.string().max(512).describe('Value of its key column; of several, a JSON array of their values, URL-encoded.'),
      }),
      querystring: z.strictObject({
        limit: shapes.limit(100, 1000),
        cursor: z.string().optional().describe('`nextCursor` of the page before.'),
      }),
      response: {
        200: z.object({
          generation: z.number(),
          steps: z.array(z.looseObject({})),
          nextCursor: z.string().nullable().describe('Set while not all events were looked at: a page may be empty and have more.'),
        }),
        ...answers,
        ...shapes.problems.missing,
        ...shapes.problems.impossible,
      },
    },
    handler: async (request, reply) => {
      const { tenant, params, query } = request
      const row = await reads.projection(tenant, params.name)
      if (row?.live_generation === null || !row) throw new RefoldError('not-found', `no projection ${params.name}`)
      const fold = foldOf(folds, row)
      const table = tableOf(fold)
      const asked = { ...askedKey(table, params.key), skips: await reads.skips(tenant, params.name, row.live_generation) }
      const from = query.cursor === undefined ? undefined : openCursor(query.cursor, place)
      if (from && from.generation !== row.live_generation)
        throw new RefoldError('request-invalid', `cursor: generation ${row.live_generation} is live now, begin again without it`)
      const until = placesOf(row)
      const rows = new Map<number, PlainRow | null>(from?.rows)
      let after: ReadonlyMap<number, number> = new Map(from?.after)
      const steps: Step[] = []
      let more = true
      for (const end = performance.now() + LOOKS_FOR; more && steps.length < query.limit && performance.now() < end;) {
        const { value } = await reads.eventsAfter(tenant, { after, limit: PAGE })
        const passed = new Map(after)
        let isFull = false
        for (const one of value.rows) {
          isFull = steps.length === query.limit
          if (isFull) break
          const offset = Number(one.log_offset)
          if (offset >= (until.get(one.partition) ?? 0)) continue
          passed.set(one.partition, offset)
          const step = stepOf(fold, asked, foldEvent(one), rows.get(one.partition) ?? null)
          if (!step) continue
          rows.set(one.partition, step.after)
          steps.push(step)
        }
        after = isFull ? passed : value.next
        more = isFull || (value.more && [...until].some(([partition, next]) => (after.get(partition) ?? -1) < next - 1))
      }
      const next = more ? sealCursor({ generation: row.live_generation, after: [...after], rows: [...rows] }) : null
      // No event of this tenant touched it: the same for what never was and what is another tenant's.
      if (steps.length === 0 && !from && !more) throw new RefoldError('not-found', `no row ${params.key} in ${params.name}`)
      return sendJson(
        reply,
        JSON.stringify({ generation: row.live_generation, steps: steps.map((step) => stepJson(table, step)), nextCursor: next }),
      )
    },
  })
}
