// JSON without loss: numbers that a double cannot hold keep their text, and `__proto__` never becomes a prototype.

declare global {
  interface JSON {
    /** A value that `stringify` writes as this very text. */
    rawJSON(text: string): object
    isRawJSON(value: unknown): value is { rawJSON: string }
    parse(text: string, reviver: (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown): unknown
  }
}

export type JsonObject = { [key: string]: unknown }

// 16 digits in a row (a point counts) may hold more than a double does; an exponent may leave its range.
const MAY_LOSE = /\d[\d.]{15}|[\d.][eE][+-]?\d/
const MAY_POLLUTE = /__proto__|\\u/

/** Digits a double is sure to give back, at least as a number. */
const SAFE_DIGITS = 15

/** What the engine writes just as it was read (such as its own `random()`), or has few digits; else the number's own text is kept. */
function isExact(value: number, source: string): boolean {
  if (String(value) === source) return true
  if (/[eE]/.test(source)) return false
  return source.replace(/^-?0*\.?0*/, '').replace('.', '').length <= SAFE_DIGITS
}

/**
 * Parses JSON text; throws SyntaxError. A number that a double may not give back comes back as
 * `JSON.rawJSON(source)`, so that `stringify` writes it as it was; keys named `__proto__` are left out. Texts with
 * neither (nearly all) take the engine's fast way.
 */
export function parseJson(text: string): unknown {
  if (!MAY_LOSE.test(text) && !MAY_POLLUTE.test(text)) return JSON.parse(text)
  return JSON.parse(text, (key: string, value: unknown, context: { source?: string }) => {
    if (key === '__proto__') return undefined
    if (typeof value !== 'number' || context.source === undefined || isExact(value, context.source)) return value
    return JSON.rawJSON(context.source)
  })
}

/** As JSON.parse: numbers are doubles, for authors' code; keys named `__proto__` are left out. Throws SyntaxError. */
export function parsePlain(text: string): unknown {
  if (!MAY_POLLUTE.test(text)) return JSON.parse(text)
  return JSON.parse(text, (key: string, value: unknown) => (key === '__proto__' ? undefined : value))
}

/** Every number as it was written, white space and string escapes normalised: for digests. Throws SyntaxError. */
export function parseJsonVerbatim(text: string): unknown {
  // What the engine writes just so has no number that it would write in another way.
  const plain: unknown = MAY_POLLUTE.test(text) ? undefined : JSON.parse(text)
  if (plain !== undefined && JSON.stringify(plain) === text) return plain
  return JSON.parse(text, (key: string, value: unknown, context: { source?: string }) => {
    if (key === '__proto__') return undefined
    return typeof value === 'number' && context.source !== undefined ? JSON.rawJSON(context.source) : value
  })
}

/** True for a JSON object (not null, an array, or a number kept as text). */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}

/** How deep arrays and objects are nested in JSON text, without parsing it; brackets in strings don't count. */
export function jsonDepth(text: string): number {
  let depth = 0
  let deepest = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 0x5c) i++
      else if (code === 0x22) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++depth)
    else if (code === 0x7d || code === 0x5d) depth--
  }
  return deepest
}
