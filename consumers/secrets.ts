// request → [the secrets of one attempt] → outcome → log
//
// Owns: which secrets an attempt was handed, and that none of them is in what it throws or tells. Not in results: those are the author's,
// and changed they would be wrong.

import { failureOf, type Failure } from '../workflow/failures.ts'
import { isJsonObject } from '../workflow/json.ts'

/** Shorter ones are in any text, characters. */
const SHORTEST = 4
const MASK = '[secret]'

/** No setting holds the secret that was asked for. */
class SecretMissing extends Error {
  override readonly name = 'SecretMissing'
  readonly code = 'secret-missing'
}

export type Secrets = {
  /** Throws where there is none. */
  read(name: string): string
  /** Anything thrown, as it is written into the log. */
  failureOf(thrown: unknown): Failure
  /** As JSON text; undefined where JSON has nothing to say of it. */
  textOf(progress: unknown): string | undefined
}

export function createSecrets(look: (name: string) => string | undefined): Secrets {
  const handed = new Set<string>()
  /** Also as they are within JSON and within an address: messages often quote a request. The longest first, one may be part of another. */
  const forms = () => {
    const all = [...handed].flatMap((one) => [one, JSON.stringify(one).slice(1, -1), encodeURIComponent(one.toWellFormed())])
    return [...new Set(all)].toSorted((a, b) => b.length - a.length)
  }
  const mask = (text: string) => forms().reduce((masked, form) => masked.replaceAll(form, MASK), text)
  /** Texts only: of a number, a part would be replaced. */
  const maskValue = (_key: string, value: unknown): unknown => {
    if (typeof value === 'string') return mask(value)
    return isJsonObject(value) ? Object.fromEntries(Object.entries(value).map(([key, one]) => [mask(key), one])) : value
  }
  return {
    read(name) {
      const value = look(name)
      if (value === undefined) throw new SecretMissing(`no secret ${name}: set REFOLD_SECRET_${name.toUpperCase()}`)
      if (value.length >= SHORTEST) handed.add(value)
      return value
    },
    failureOf(thrown) {
      if (handed.size === 0) return failureOf(thrown)
      if (!(thrown instanceof Error)) return failureOf(mask(String(thrown)))
      // Before it is cut to length: half a secret would not be found.
      const code = 'code' in thrown && typeof thrown.code === 'string' ? { code: mask(thrown.code) } : {}
      return failureOf(Object.assign(new Error(mask(thrown.message)), { name: mask(thrown.name) }, code))
    },
    textOf: (progress) => (handed.size === 0 ? JSON.stringify(progress) : JSON.stringify(progress, maskValue)),
  }
}
