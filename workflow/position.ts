// Where a record is: partition + offset, written `p7:120345`. Several, highest of each partition: `p3:17,p7:120345`.

export type Position = { partition: number; offset: number }

const POSITION = /^p(\d{1,9}):(\d{1,16})$/

export const formatPosition = ({ partition, offset }: Position) => `p${partition}:${offset}`

/** undefined for anything but `p<partition>:<offset>`. */
export function parsePosition(text: string): Position | undefined {
  const match = POSITION.exec(text)
  if (!match) return undefined
  const position = { partition: Number(match[1]), offset: Number(match[2]) }
  return Number.isSafeInteger(position.offset) ? position : undefined
}

/** `p3:17,p7:120345`, in order of partitions. One of which nothing was seen, −1, is left out: after nothing is from its beginning. */
export function formatPositions(offsets: ReadonlyMap<number, number>): string {
  return [...offsets]
    .filter(([, offset]) => offset >= 0)
    .toSorted(([a], [b]) => a - b)
    .map(([partition, offset]) => formatPosition({ partition, offset }))
    .join(',')
}

/** Partition → highest offset named; undefined when any part is not a position. */
export function parsePositions(text: string): Map<number, number> | undefined {
  const offsets = new Map<number, number>()
  for (const part of text.split(',')) {
    const position = parsePosition(part.trim())
    if (!position) return undefined
    offsets.set(position.partition, Math.max(position.offset, offsets.get(position.partition) ?? 0))
  }
  return offsets
}
