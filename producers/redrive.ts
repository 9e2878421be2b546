// [produce] → log → recorder → state → REST
//
// A record that was not accepted, appended again byte for byte: for one whose cause is mended (its schema is registered
// now, the producer's partitioner was the wrong one, a timer's time has come). The old verdict stays; the new record gets
// one of its own, so to repeat a redrive is safe: what was accepted in between makes it a duplicate.

import { RefoldError } from '../errors.ts'
import type { Appended, Log } from '../kafka/log.ts'
import { partitionOf } from '../workflow/partition.ts'

/** What is kept of a record; null where nothing is. */
export type KeptRecord = { key: Uint8Array | null; value: Uint8Array | null }

export type Redriver = {
  /** Errors: `redrive-impossible`, and those of `Log.append`. */
  redrive(kept: KeptRecord): Promise<Appended>
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The key as text; undefined for bytes that are none, which can never be an execution's id. */
function textOf(key: Uint8Array): string | undefined {
  try {
    return decoder.decode(key)
  } catch {
    return undefined // not UTF-8: an answer, not a failure
  }
}

/** Why a record can't be appended again; undefined when it can. */
export function whyNotAgain({ key, value }: KeptRecord): string | undefined {
  if (value === null || value.length === 0) return 'no value is kept of it'
  if (key === null || key.length === 0) return 'it has no key, so no execution and no partition'
  if (textOf(key) === undefined) return 'its key is not text, so it can never be an execution id'
  return undefined
}

/** Appends to the partition that murmur2 of the key gives, wherever the record was; without its headers. */
export function createRedriver({ log, topic, partitions }: { log: Pick<Log, 'append'>; topic: string; partitions: number }): Redriver {
  return {
    async redrive(kept) {
      const fault = whyNotAgain(kept)
      const key = kept.key && textOf(kept.key)
      if (fault !== undefined || !key || !kept.value) throw new RefoldError('redrive-impossible', fault ?? 'nothing is kept of it')
      return log.append({ topic, partition: partitionOf(kept.key ?? key, partitions), key, value: kept.value })
    },
  }
}
