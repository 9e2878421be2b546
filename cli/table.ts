// Rows in columns, for people. No column is wider than it must be, no line longer than the terminal.

// eslint-disable-next-line no-control-regex -- control characters could move the terminal's cursor
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g

/** One line of printable text; at most `width` characters. */
export function oneLine(text: string, width = Infinity): string {
  const clean = text.replaceAll(CONTROL, ' ')
  return clean.length > width ? `${clean.slice(0, Math.max(0, width - 1))}…` : clean
}

/** `rows` under `headings`; the last column takes what is left of `width`. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[], width = Infinity): string {
  const lines = [headings, ...rows.map((row) => row.map((cell, column) => oneLine(cell, column < headings.length - 1 ? 60 : width)))]
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  return lines
    .map((line) => {
      const padded = line.map((cell, column) => (column < headings.length - 1 ? cell.padEnd(widths[column] ?? 0) : cell))
      return oneLine(padded.join('  ').trimEnd(), width)
    })
    .join('\n')
}

/** Names and values below each other; what has no value is left out. */
export function sheet(pairs: readonly (readonly [string, string])[]): string {
  const said = pairs.filter(([, value]) => value !== '')
  const width = Math.max(...said.map(([name]) => name.length))
  return said.map(([name, value]) => `${name.padEnd(width)}  ${oneLine(value)}`).join('\n')
}
