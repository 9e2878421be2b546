// Design 7, the third way to ask for a rebuild: what a person did with Kafka's own tool while the readers were stopped.

import type { Logger } from 'pino'
import type { Pool } from 'pg'
import type { GroupOffset, Log } from '../kafka/log.ts'
import { asError } from '../errors.ts'
import { aloneWithGroup, answerOffsets, forgetAnswered, notedGroups } from '../postgres/persons-offsets.ts'

/** An offset that a person committed: it does not carry our metadata. */
const isPersons = ({ offset, metadata }: GroupOffset): boolean => offset !== null && offset >= 0 && !metadata.startsWith('refold:')

/** Between two looks at what Kafka's tool did to groups that stand (`heedStanding`), ms. */
export const STANDING_EVERY = 10_000

type Deps = { log: Pick<Log, 'groupOffsets' | 'dropGroup' | 'groups'>; topic: string; pool: Pool; logger: Logger }

/** `checkpoints`: of a generation that is gone, those of the live one. */
type Group = { group: string; projection: string; reader: string; checkpoints: ReadonlyMap<number, number> }

/**
 * Below the checkpoint: a reset. Above: refused, an incident, nothing is skipped. Missing or expired: nothing. Before a reader joins the
 * group: once the answer is stored, the group is deleted with the person's offsets, and the reader's mirror makes it anew. So what is
 * found later was set later. Where that can't be, since somebody has joined meanwhile or ACLs
 * forbid it, the mirror overwrites them. False: another process is at the group, so it is too early to join it.
 */
export async function heedPersonsOffsets(
  { log, topic, pool, logger }: Deps,
  { group, projection, reader, checkpoints }: Group,
): Promise<boolean> {
  const persons = async () => (await log.groupOffsets(group, topic)).filter(isPersons)
  if ((await persons()).length === 0 && !(await notedGroups(pool)).has(group)) return true
  return aloneWithGroup(pool, group, async () => {
    // Asked anew: an answer may have been noted since, which stands until its offsets are seen to be gone.
    const found = await persons()
    if (found.length === 0) return forgetAnswered(pool, group)
    const offsets = found.map(({ partition, offset }) => ({
      partition,
      offset: offset ?? 0,
      checkpoint: checkpoints.get(partition) ?? 0,
    }))
    for (const { kind, detail } of await answerOffsets(pool, { group, projection, reader, offsets }))
      logger[kind === 'refused' ? 'error' : 'info']({ projection, group, offsets }, detail)
    if (await log.dropGroup(group)) await forgetAnswered(pool, group)
  })
}

/** A group as it is looked at again and again; `isRead`: a reader of this process is a member. */
export type Standing = { group: string; isRead: boolean; heed(): Promise<unknown> }

/**
 * Groups that nobody here joins have no mirror, and a person may take the command of yesterday. Of one that is read, a note that
 * stands is forgotten once the mirror has overwritten what was answered: where the group could not be deleted, or a process died in
 * between, the same request would be taken for the answered one. What Kafka forgot, and most retired groups are gone, costs nothing.
 */
export async function heedStanding({ log, pool, logger }: Deps, all: readonly Standing[]): Promise<void> {
  const noted = await notedGroups(pool)
  const there = all.some(({ isRead }) => !isRead) ? await log.groups() : new Set<string>()
  for (const { group, isRead, heed } of all) {
    if (!noted.has(group) && (isRead || !there.has(group))) continue
    try {
      await heed()
    } catch (error) {
      logger.warn({ group, error: asError(error).message }, 'offsets of a group could not be looked at; again')
    }
  }
}
