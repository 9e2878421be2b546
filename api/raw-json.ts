// JSON cut, not parsed: where items and payloads begin and end in the request's own text, so that a payload reaches the
// log byte for byte (9007199254740993 has no double). What is cut out is judged later by JSON.parse; for text that is
// not JSON these functions still end, and the pieces fail there.

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

const isSpace = (code: number) => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && isSpace(text.charCodeAt(at))) at++
  return at
}

/** `at` is an opening quote; gives the place after the closing one, or the text's end. */
function skipString(text: string, at: number): number {
  let end = at
  for (;;) {
    end = text.indexOf('"', end + 1)
    if (end === -1) return text.length
    let escapes = 0
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return end + 1
  }
}

/** The place after the value that begins at `from`: the next comma or closing bracket outside of it, or the text's end. */
function skipValue(text: string, from: number): number {
  let depth = 0
  let at = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      at = skipString(text, at)
      continue
    }
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      if (depth === 0) return at
      depth--
    } else if (code === COMMA && depth === 0) return at
    at++
  }
  return at
}

/** The texts of an array's elements, or why the text is not one array. An element's own faults show when it is parsed. */
export function elementsOf(text: string): { elements: string[] } | { fault: string } {
  let at = skipSpace(text, 0)
  if (text.charCodeAt(at) !== OPEN_BRACKET) return { fault: 'it does not begin with [' }
  const elements: string[] = []
  at = skipSpace(text, at + 1)
  if (text.charCodeAt(at) === CLOSE_BRACKET) return ending(text, at, elements)
  for (;;) {
    const end = skipValue(text, at)
    elements.push(text.slice(at, end))
    const code = text.charCodeAt(end)
    if (code === CLOSE_BRACKET) return ending(text, end, elements)
    if (code !== COMMA) return { fault: `the array is not closed after item ${elements.length - 1}` }
    at = skipSpace(text, end + 1)
  }
}

function ending(text: string, close: number, elements: string[]) {
  return skipSpace(text, close + 1) === text.length ? { elements } : { fault: 'something follows the closing ]' }
}

/** NDJSON: one text a line with its number from 1; empty lines are passed over. */
export function linesOf(text: string): { line: number; text: string }[] {
  return text
    .split('\n')
    .map((line, index) => ({ line: index + 1, text: line.trim() }))
    .filter(({ text: line }) => line !== '')
}

/** An object's text with one member's value cut out and `null` in its place. */
export type Cut = { rest: string; source?: string; repeated?: string }

/** Cuts the value of member `name` out of an object's text; `repeated` names a key that comes twice. */
export function cutMember(text: string, name: string): Cut {
  const seen = new Set<string>()
  let cut: Cut = { rest: text }
  let at = skipSpace(text, 0)
  if (text.charCodeAt(at) !== OPEN_BRACE) return cut
  for (;;) {
    at = skipSpace(text, at + 1)
    if (text.charCodeAt(at) !== QUOTE) return cut
    const keyEnd = skipString(text, at)
    const key = keyOf(text.slice(at, keyEnd))
    if (seen.has(key)) return { ...cut, repeated: key }
    seen.add(key)
    const colon = skipSpace(text, keyEnd)
    if (text.charCodeAt(colon) !== COLON) return cut
    const start = skipSpace(text, colon + 1)
    const end = skipValue(text, start)
    if (key === name) {
      const source = text.slice(start, end).trimEnd()
      cut = { rest: `${text.slice(0, start)}null${text.slice(start + source.length)}`, source }
    }
    if (text.charCodeAt(end) !== COMMA) return cut
    at = end
  }
}

function keyOf(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    return String(JSON.parse(quoted))
  } catch {
    return quoted // not JSON; parsing the object says so
  }
}
