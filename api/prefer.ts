// RFC 7240: `Prefer: wait=N`, the longest a sender wants to wait for the better answer.

/** Longest wait granted, seconds. */
export const LONGEST_WAIT = 60

/** Seconds asked for, at most LONGEST_WAIT; undefined when the header names no wait. */
export function preferredWait(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header.join(',') : (header ?? '')
  for (const preference of text.split(/[,;]/)) {
    const match = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*$/i.exec(preference)
    if (match) return Math.min(Number(match[1]), LONGEST_WAIT)
  }
  return undefined
}
