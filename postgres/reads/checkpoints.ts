// The recorder's checkpoints: how new what is read is.

import { sql } from 'slonik'
import { z } from 'zod'
import type { ReadPool, Transaction } from './pool.ts'

/** Partition → checkpoint of the recorder: everything below is stored. */
export type Checkpoints = ReadonlyMap<number, number>

/** Something read, with checkpoints read just before it: it is at least as new as they say. */
export type Read<T> = { value: T; checkpoints: Checkpoints }

const row = z.object({ partition: z.number(), next: z.string().transform(Number) })

const all = sql.type(row)`
  SELECT partition, next_offset::text AS next FROM refold.checkpoints WHERE reader = 'recorder' ORDER BY partition`

const one = (partition: number) => sql.type(row)`
  SELECT partition, next_offset::text AS next FROM refold.checkpoints WHERE reader = 'recorder' AND partition = ${partition}`

/** The checkpoints as a transaction sees them: of one partition, or of all. */
export async function checkpointsOf(transaction: Transaction, partition?: number): Promise<Checkpoints> {
  const rows = await transaction.any(partition === undefined ? all : one(partition))
  return new Map(rows.map(({ partition: at, next }) => [at, next]))
}

/** No tenant has a control character in its name, so none has this one; '' would see no row, checkpoints neither. */
const NO_TENANT = '\n'

/** For nobody in particular: checkpoints are the whole log's. */
export const checkpointsNow = (pool: ReadPool) => pool.read(NO_TENANT, (transaction) => checkpointsOf(transaction))

/** `work`, with the checkpoints of one partition or of all. In this order: a checkpoint is never newer than the rows. */
export function readWithCheckpoints<T>(
  pool: ReadPool,
  tenant: string,
  partition: number | 'all',
  work: (transaction: Transaction, checkpoints: Checkpoints) => Promise<T>,
): Promise<Read<T>> {
  return pool.read(tenant, async (transaction) => {
    const checkpoints = await checkpointsOf(transaction, partition === 'all' ? undefined : partition)
    return { checkpoints, value: await work(transaction, checkpoints) }
  })
}
