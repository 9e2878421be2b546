// The recorder's checkpoints: how new what is read is.

import { z } from 'zod'
import type { ReadPool, Transaction } from './pool.ts'

/** Partition → checkpoint of the recorder: everything below is stored. */
export type Checkpoints = ReadonlyMap<number, number>

/** Something read, with checkpoints read just before it: it is at least as new as they say. */
export type Read<T> = { value: T; checkpoints: Checkpoints }

const row = z.object({ partition: z.number(), next: z.string().transform(Number) })
const rows = z.array(row)

/** The recorder's checkpoints, of one partition or of all; without parameters, so that it goes with the first message. */
const statement = (partition?: number) =>
  `SELECT partition, next_offset::text AS next FROM refold.checkpoints WHERE reader = 'recorder'${
    partition === undefined ? '' : ` AND partition = ${Math.trunc(partition)}`
  } ORDER BY partition`

const read = ({ first }: Transaction): Checkpoints => new Map(rows.parse(first).map(({ partition, next }) => [partition, next]))

/** No tenant has a control character in its name, so none has this one; '' would see no row, checkpoints neither. */
const NO_TENANT = '\n'

/** For nobody in particular: checkpoints are the whole log's. */
export const checkpointsNow = (pool: ReadPool): Promise<Checkpoints> =>
  pool.read(NO_TENANT, async (transaction) => read(transaction), { first: statement() })

/** `work`, with the checkpoints of one partition or of all. In this order: a checkpoint is never newer than the rows. */
export function readWithCheckpoints<T>(
  pool: ReadPool,
  tenant: string,
  partition: number | 'all',
  work: (transaction: Transaction, checkpoints: Checkpoints) => Promise<T>,
  operator = false,
): Promise<Read<T>> {
  const ask = async (transaction: Transaction) => {
    const checkpoints = read(transaction)
    return { checkpoints, value: await work(transaction, checkpoints) }
  }
  return pool.read(tenant, ask, { first: statement(partition === 'all' ? undefined : partition), operator })
}
