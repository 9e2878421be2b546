// Design 7, the third way to ask for a rebuild: what a person did with Kafka's own tool while the readers were stopped.

import type { Logger } from 'pino'
import type { Pool } from 'pg'
import type { GroupOffset, Log } from '../kafka/log.ts'
import { aloneWithGroup, answerOffsets, forgetAnswered } from '../postgres/persons-offsets.ts'

/** An offset that a person committed: it does not carry our metadata. */
const isPersons = ({ offset, metadata }: GroupOffset): boolean => offset !== null && offset >= 0 && !metadata.startsWith('refold:')

type Deps = { log: Pick<Log, 'groupOffsets' | 'dropGroup'>; topic: string; pool: Pool; logger: Logger }

/** `checkpoints`: of a generation that is gone, those of the live one. */
type Group = { group: string; projection: string; reader: string; checkpoints: ReadonlyMap<number, number> }

/**
 * Below the checkpoint: a reset. Above: refused, an incident, nothing is skipped. Missing or expired: nothing. Before a reader joins the
 * group: once the answer is stored, the group is deleted with the person's offsets, and the reader's mirror makes it anew. So what is
 * found later was set later. Where that can't be, since somebody has joined meanwhile or ACLs
 * forbid it, the mirror overwrites them.
 */
export async function heedPersonsOffsets(
  { log, topic, pool, logger }: Deps,
  { group, projection, reader, checkpoints }: Group,
): Promise<void> {
  const persons = async () => (await log.groupOffsets(group, topic)).filter(isPersons)
  if ((await persons()).length === 0) return forgetAnswered(pool, group)
  await aloneWithGroup(pool, group, async () => {
    const offsets = (await persons()).map(({ partition, offset }) => ({
      partition,
      offset: offset ?? 0,
      checkpoint: checkpoints.get(partition) ?? 0,
    }))
    for (const { kind, detail } of await answerOffsets(pool, { group, projection, reader, offsets }))
      logger[kind === 'refused' ? 'error' : 'info']({ projection, group, offsets }, detail)
    if (await log.dropGroup(group)) await forgetAnswered(pool, group)
  })
}
