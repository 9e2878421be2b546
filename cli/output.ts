// How commands answer: tables on a terminal; the server's JSON, to the last digit, with --json or when it goes elsewhere.

import { InvalidArgumentError } from 'commander'
import type { Answer, Call, Client } from './client.ts'

export type Output = { json?: boolean }

export const asJson = ({ json }: Output) => json ?? !process.stdout.isTTY
export const print = (text: string) => process.stdout.write(`${text}\n`)
/** Of the terminal; what goes elsewhere is not cut. */
export const columns = () => (process.stdout.isTTY ? process.stdout.columns || 120 : Infinity)

/** Description of --json, the same for all commands. */
export const JSON_OPTION = ['--json', 'the server’s JSON, also on a terminal'] as const

/** Help text: an example, below the options. */
export const example = (...lines: string[]) => `\nExample:\n${lines.map((line) => `  ${line}`).join('\n')}`

/** The client for the API of this clone, or of REFOLD_API_URL. */
export async function openClient(): Promise<Client> {
  const { createClient, resolveApi } = await import('./client.ts')
  return createClient(resolveApi())
}

/** Prints an answer as it is, or lets `tell` read it; gives it. */
export async function answer(path: string, call: Call, output: Output, tell: (answer: Answer) => void | Promise<void>): Promise<Answer> {
  const got = await (await openClient()).call(path, call)
  if (asJson(output)) print(got.text)
  else await tell(got)
  return got
}

export const whole = (text: string): number => {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('it is a whole number.')
  return Number(text)
}

/** A path segment of its own. */
export const segment = (text: string) => encodeURIComponent(text)
