// What all reads have in common: waiting for a position, headers, and JSON that is spliced, not parsed.

import type { FastifyReply, FastifyRequest } from 'fastify'
import { RefoldError } from '../errors.ts'
import type { Checkpoints } from '../postgres/reads/checkpoints.ts'
import type { EventRow } from '../postgres/reads/events.ts'
import { formatPosition } from '../workflow/position.ts'
import type { ApiDeps } from './ports.ts'
import { preferredWait } from './prefer.ts'
import { ProblemError } from './problem.ts'
import * as shapes from './shapes.ts'
import type { Watermarks } from './watermarks.ts'

export type ReadOptions = Pick<ApiDeps, 'reads' | 'partitions'> & { watermarks: Watermarks }

/** An object's JSON with members whose values are JSON text already; null = none. */
export function spliced(known: object, raw: Readonly<Record<string, string | null>>): string {
  const members = Object.entries(raw).map(([key, text]) => `,"${key}":${text ?? 'null'}`)
  return `${JSON.stringify(known).slice(0, -1)}${members.join('')}}`
}

export function eventJson({ payload, seq, partition, log_offset, ...event }: EventRow): string {
  const { workflow_name: workflow, business_key: key, sent_from_state: from, sent_to_state: to, ...row } = event
  void [workflow, key] // of the execution: asked for there
  void [from, to] // what is answered is what the fold computed
  return spliced({ ...row, seq: Number(seq), position: formatPosition({ partition, offset: Number(log_offset) }) }, { payload })
}

/** An answer given as text. The routes' types know parsed answers only. */
export const sendJson = (reply: FastifyReply, text: string): never => reply.type('application/json; charset=utf-8').send(text) as never

/** Refuses positions, given as `name`, of partitions that the log does not have. */
export function requirePartitions(name: string, positions: Checkpoints, partitions: number): void {
  const unknown = [...positions.keys()].find((partition) => partition >= partitions)
  if (unknown === undefined) return
  throw new RefoldError('request-invalid', `${name}: there is no partition p${unknown}; the log has p0 to p${partitions - 1}`)
}

/** Waits for `minPosition` as long as `Prefer: wait` says; RefoldError `position-not-reached` with the gap otherwise. */
export async function holdToPosition(
  request: FastifyRequest,
  reply: FastifyReply,
  { watermarks, partitions }: ReadOptions,
  asked: Checkpoints | undefined,
): Promise<void> {
  if (!asked) return
  requirePartitions('minPosition', asked, partitions)
  const wait = preferredWait(request.headers.prefer)
  if (wait !== undefined) void reply.header('preference-applied', `wait=${wait}`)
  const gap = await watermarks.wait(asked, (wait ?? 0) * 1000)
  if (gap.length === 0) return
  const detail = gap.map(({ partition, asked: to, behind }) => `p${partition}:${to} is ${behind} records ahead`).join('; ')
  throw new ProblemError('position-not-reached', detail, { gap })
}

/** The same for what never was and what is another tenant's. */
export const missing = (id: string) => new RefoldError('not-found', `no execution ${id}`)

/** Schema parts of every read. */
export const read = { headers: shapes.readHeaders }

/** What every read may answer instead. */
export const answers = { ...shapes.problems.invalid, ...shapes.problems.auth, ...shapes.problems.behind, ...shapes.problems.away }
