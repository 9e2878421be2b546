// Names near a mistyped one, for messages.

/** How many single-character edits turn `a` into `b`. */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}

/** Up to three of `known` that `name` may have meant, nearest first. */
export function near(name: string, known: Iterable<string>): string[] {
  const wanted = name.toLowerCase()
  const limit = Math.max(1, Math.floor(wanted.length / 3))
  return [...known]
    .map((candidate) => ({ candidate, edits: distance(wanted, candidate.toLowerCase()) }))
    .filter(({ edits }) => edits <= limit)
    .toSorted((a, b) => a.edits - b.edits)
    .slice(0, 3)
    .map(({ candidate }) => candidate)
}

/** `"resorce" (did you mean "resource"?)` */
export function named(name: string, known: Iterable<string>): string {
  const candidates = near(name, known).map((candidate) => JSON.stringify(candidate))
  return candidates.length === 0 ? JSON.stringify(name) : `${JSON.stringify(name)} (did you mean ${candidates.join(' or ')}?)`
}
