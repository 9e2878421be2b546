// Design 7, the third way to ask for a rebuild: what a person did with Kafka's own tool while the readers were stopped.

import type { Logger } from 'pino'
import type { Pool } from 'pg'
import type { GroupOffset, Log } from '../kafka/log.ts'
import { refuseOffset, requestReset } from '../postgres/operation-rows.ts'

/** An offset that a person committed: it does not carry our metadata. */
const isPersons = ({ offset, metadata }: GroupOffset): boolean => offset !== null && offset >= 0 && !metadata.startsWith('refold:')

type Deps = { log: Log; topic: string; pool: Pool; logger: Logger }

type Group = { group: string; projection: string; reader: string; checkpoints: ReadonlyMap<number, number> }

/** Below the checkpoint: a reset. Above: refused, an incident, nothing is skipped. Missing or expired: nothing. */
export async function heedPersonsOffsets(
  { log, topic, pool, logger }: Deps,
  { group, projection, reader, checkpoints }: Group,
): Promise<void> {
  const persons = (await log.groupOffsets(group, topic)).filter(isPersons)
  if (persons.length === 0) return
  const of = ({ partition, offset }: GroupOffset) => ({ partition, offset: offset ?? 0, checkpoint: checkpoints.get(partition) ?? 0 })
  const all = persons.map(of)
  const below = all.filter(({ offset, checkpoint }) => offset < checkpoint)
  const above = all.filter(({ offset, checkpoint }) => offset > checkpoint)
  const places = (some: typeof all) => some.map(({ partition, offset }) => `p${partition}:${offset}`).join(', ')
  if (above.length > 0) {
    const detail = `group ${group} was set beyond the checkpoint, at ${places(above)}: nothing is skipped, it goes on from its checkpoint`
    logger.error({ group, above }, detail)
    await refuseOffset(pool, reader, detail, { group, above })
  }
  if (below.length === 0) return
  const reason = `group ${group} was reset to ${places(below)} by Kafka's tool; a fold from the middle would be wrong, so it starts at the first event`
  if (await requestReset(pool, projection, reason)) logger.info({ projection }, reason)
}
