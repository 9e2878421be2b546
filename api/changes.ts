// GET …/changes: the rows of a fold as they are, then each row that changes, as server-sent events or a JSON value a line.
//
// C1  A row is told as it is now: one that changed several times between two looks is told once.
// C2  `generation` says that another generation is live: what is known is forgotten, a snapshot of the new one follows.
// C3  An id is a generation and the positions that are told up to. The client that comes back with it misses nothing; with one
//     of a generation that is not live, or ahead of it (the log or the database was replaced), it is told `reset`, and begins anew.
// C4  Rows told twice are the same rows: whoever keeps the newest of each key is right.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { RefoldError } from '../errors.ts'
import { placesOf, type ProjectionRow } from '../postgres/reads/projections.ts'
import type { FoldProjection } from '../projections/define.ts'
import { formatPositions, parsePositions } from '../workflow/position.ts'
import { foldEvent, foldOf, keyText, keyValues, tableOf } from './folds.ts'
import { sendLive } from './live.ts'
import type { ApiDeps } from './ports.ts'
import { answers, type ReadOptions } from './reading.ts'
import * as shapes from './shapes.ts'

const PAGE = 500
const LOOK_EVERY = 200
/** Something goes out at least so often, ms, so that nobody takes the connection for dead. */
const BEAT = 15_000

/** `data` is JSON text. */
type Told = { event: 'generation' | 'reset' | 'row' | 'removed' | 'snapshot' | 'alive'; data: string; id?: string }

type Place = { generation: number; after: ReadonlyMap<number, number> }

type Live = { row: ProjectionRow; generation: number }

/** C3. What is ahead of the rows would be waited for in silence, and what changes until then never told. */
function whyGone({ generation, after }: Place, live: Live): string | undefined {
  if (generation !== live.generation) return `generation ${live.generation} is live now: begin anew`
  const places = placesOf(live.row)
  const ahead = [...after].find(([partition, offset]) => offset >= (places.get(partition) ?? 0))
  return ahead && `p${ahead[0]}:${ahead[1]} is ahead of the rows, which are of another log: begin anew`
}

const formatId = ({ generation, after }: Place) => `g${generation},${formatPositions(after)}`

function parseId(text: string): Place | undefined {
  const [, generation, positions = ''] = /^g(\d{1,9}),(.*)$/.exec(text) ?? []
  const after = positions === '' ? new Map<number, number>() : parsePositions(positions)
  return generation === undefined || !after ? undefined : { generation: Number(generation), after }
}

const sse = ({ event, data, id }: Told): string =>
  event === 'alive' ? ': alive\n\n' : `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`

const line = ({ event, data, id }: Told): string =>
  `{"event":"${event}"${id === undefined ? '' : `,"id":${JSON.stringify(id)}`},"data":${data}}\n`

export async function changeRoutes(scope: FastifyInstance, { reads, folds }: ReadOptions & Pick<ApiDeps, 'folds'>): Promise<void> {
  const closing = new AbortController()
  scope.addHook('preClose', async () => closing.abort())

  async function known(tenant: string, name: string): Promise<Live & { fold: FoldProjection }> {
    const row = await reads.projection(tenant, name)
    if (!row || row.live_generation === null) throw new RefoldError('not-found', `no projection ${name}`)
    return { row, fold: foldOf(folds, row), generation: row.live_generation }
  }

  /** C2. Its last word carries the place to go on from, or none is said: another generation came. */
  async function* snapshot(tenant: string, name: string, gone: AbortSignal): AsyncGenerator<Told, Place | undefined> {
    const { row, generation } = await known(tenant, name)
    // What is folded while the rows are read is told again afterwards.
    const after = new Map([...placesOf(row)].map(([partition, next]) => [partition, next - 1]))
    yield { event: 'generation', data: JSON.stringify({ generation }) }
    for (let cursor: readonly string[] | undefined; !gone.aborted;) {
      const page = await reads.rows(tenant, name, { where: {}, limit: PAGE, after: cursor })
      if (page?.generation !== generation) return undefined
      for (const data of page.rows) yield { event: 'row', data }
      cursor = page.next
      if (!cursor) break
    }
    const place = { generation, after }
    yield { event: 'snapshot', data: '{"complete":true}', id: formatId(place) }
    return place
  }

  /** One look: what changed after a place. */
  async function look(tenant: string, name: string, place: Place): Promise<{ told: Told[]; next: Place; more: boolean } | 'swapped'> {
    const { row, fold, generation } = await known(tenant, name)
    if (generation !== place.generation) return 'swapped'
    const { value } = await reads.eventsAfter(tenant, { after: place.after, limit: PAGE })
    const places = placesOf(row)
    const table = tableOf(fold)
    const touched = new Map<string, Set<number>>()
    for (const one of value.rows) {
      if (Number(one.log_offset) >= (places.get(one.partition) ?? 0)) continue
      for (const text of keysOf(fold, one)) touched.set(text, (touched.get(text) ?? new Set()).add(one.partition))
    }
    const after = new Map(place.after)
    for (const [partition, next] of places) {
      const to = Math.min(next - 1, value.next.get(partition) ?? -1)
      if (to > (after.get(partition) ?? -1)) after.set(partition, to)
    }
    const next = { generation, after }
    if (touched.size === 0) return { told: [], next, more: value.more }
    const found = await reads.rowsByKey(tenant, name, [...touched.keys()].map(keyValues))
    if (found?.generation !== generation) return 'swapped'
    const there = new Set<string>()
    const told: Told[] = found.rows.map(({ row: data, key, partition }) => {
      const text = keyText(table, Object.fromEntries(table.key.map((column, i) => [column, key[i]])))
      there.add(partition === null ? text : `${text} ${partition}`)
      return { event: 'row', data }
    })
    for (const [text, partitions] of touched)
      for (const partition of table.view === 'rows' ? partitions : [null]) {
        if (there.has(partition === null ? text : `${text} ${partition}`)) continue
        const values = keyValues(text)
        const key = Object.fromEntries(table.key.map((column, i) => [column, values[i]]))
        told.push({ event: 'removed', data: JSON.stringify(partition === null ? { key } : { key, partition }) })
      }
    const last = told.at(-1)
    if (last) last.id = formatId(next)
    return { told, next, more: value.more }
  }

  function keysOf(fold: FoldProjection, one: Parameters<typeof foldEvent>[0]): string[] {
    try {
      return fold.keys(foldEvent(one)).map((key) => keyText(tableOf(fold), key))
    } catch {
      return [] // it was passed by a person: it changed nothing
    }
  }

  async function* follow(tenant: string, name: string, from: Place | undefined, gone: AbortSignal): AsyncGenerator<Told> {
    let place = from
    let beaten = performance.now()
    while (!gone.aborted) {
      try {
        if (!place) {
          place = yield* snapshot(tenant, name, gone)
          continue
        }
        const seen = await look(tenant, name, place)
        if (seen === 'swapped') {
          place = undefined
          continue
        }
        yield* seen.told
        if (seen.told.length > 0) beaten = performance.now()
        const isMoved = formatId(seen.next) !== formatId(place)
        place = seen.next
        if (seen.more && isMoved) continue
      } catch (error) {
        // The database is away: the stream stays open and goes on where it was.
        if (!(error instanceof RefoldError && error.retryable)) throw error
      }
      if (performance.now() - beaten > BEAT) {
        beaten = performance.now()
        yield { event: 'alive', data: '{}' }
      }
      await pause(LOOK_EVERY, undefined, { signal: gone }).catch(() => undefined)
    }
  }

  async function* began(tenant: string, name: string, asked: Place | undefined, live: Live, gone: AbortSignal): AsyncGenerator<Told> {
    const reason = asked && whyGone(asked, live)
    if (asked && reason !== undefined) yield { event: 'reset', data: JSON.stringify({ generation: asked.generation, reason }) }
    yield* follow(tenant, name, reason === undefined ? asked : undefined, gone)
  }

  scope.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/projections/:name/changes',
    schema: {
      tags: ['projections'],
      summary: 'Rows of a fold as they are, then as they change: server-sent events, or a JSON value a line (Accept).',
      headers: z.object({
        'last-event-id': z.string().optional().describe('The last id seen: goes on after it.'),
        accept: z.string().optional().describe('`text/event-stream` or `application/x-ndjson` (without either: lines).'),
      }),
      params: z.object({ name: z.string().min(1).max(63).describe('Name of the projection.') }),
      querystring: z.strictObject({
        after: z.string().optional().describe('The last id seen, as Last-Event-ID. Without: a snapshot first.'),
      }),
      response: {
        200: {
          description: 'It does not end by itself.',
          content: { 'text/event-stream': { schema: z.string() }, 'application/x-ndjson': { schema: z.string() } },
        },
        ...answers,
        ...shapes.problems.missing,
        ...shapes.problems.impossible,
      },
    },
    handler: async (request, reply) => {
      const { tenant, params, query, headers } = request
      const last = headers['last-event-id'] || query.after
      const asked = last ? parseId(last) : undefined
      if (last && !asked) throw new RefoldError('request-invalid', 'after: it is not an id that this stream gave')
      const live = await known(tenant, params.name)
      const isSse = headers.accept?.includes('text/event-stream') === true
      return sendLive(
        request,
        reply,
        isSse ? 'text/event-stream; charset=utf-8' : 'application/x-ndjson',
        closing.signal,
        async function* (gone) {
          if (isSse) yield ': refold\nretry: 1000\n\n'
          for await (const told of began(tenant, params.name, asked, live, gone)) yield isSse ? sse(told) : line(told)
        },
      ) as never
    },
  })
}
