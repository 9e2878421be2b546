// Dead letters: entries that their handler failed at too often, kept whole in `<stream>:dlq`.

import type { Redis } from 'ioredis'

export type DeadLetter = {
  /** Of the dead letter itself. */
  id: string
  /** Names and values in turn, as they were. */
  fields: string[]
  errorMessage: string
  errorStack: string
  sourceStream: string
  originalId: string
  movedAt: string
}

export const deadLettersOf = (stream: string) => `${stream}:dlq`

export async function addDeadLetter(redis: Redis, stream: string, [id, fields]: [string, string[]], error: Error): Promise<void> {
  await redis.xadd(
    deadLettersOf(stream),
    '*',
    'original_message',
    JSON.stringify(fields),
    'error_message',
    error.message,
    'error_stack',
    error.stack ?? '',
    'source_stream',
    stream,
    'original_id',
    id,
    'moved_at',
    new Date().toISOString(),
  )
}

function readLetter([id, flat]: [string, string[]]): DeadLetter {
  const of = (name: string) => {
    const at = flat.findIndex((field, i) => i % 2 === 0 && field === name)
    return at < 0 ? '' : (flat[at + 1] ?? '')
  }
  return {
    id,
    fields: JSON.parse(of('original_message') || '[]') as string[],
    errorMessage: of('error_message'),
    errorStack: of('error_stack'),
    sourceStream: of('source_stream'),
    originalId: of('original_id'),
    movedAt: of('moved_at'),
  }
}

/** The oldest first. */
export async function listDeadLetters(redis: Redis, stream: string, count = 100): Promise<DeadLetter[]> {
  // Redis answers null where none is asked for.
  return (((await redis.xrange(deadLettersOf(stream), '-', '+', 'COUNT', count)) as [string, string[]][] | null) ?? []).map(readLetter)
}

export async function viewDeadLetter(redis: Redis, stream: string, id: string): Promise<DeadLetter | undefined> {
  const [found] = (await redis.xrange(deadLettersOf(stream), id, id)) as [string, string[]][]
  return found && readLetter(found)
}

/**
 * Puts a dead letter's entry back into its stream, byte for byte, and removes the letter. All groups of the stream see it
 * again; those that had handled it find its position seen. Gives the new entry's id; undefined: there is no such letter.
 */
export async function redriveDeadLetter(redis: Redis, stream: string, id: string): Promise<string | undefined> {
  const letter = await viewDeadLetter(redis, stream, id)
  if (!letter) return undefined
  const added = await redis.xadd(letter.sourceStream, '*', ...letter.fields)
  // Its own id: the one given may lack the number, and then another is meant by it here than above.
  await redis.xdel(deadLettersOf(stream), letter.id)
  return added ?? undefined
}
