// How processes end that are killed, and started again, in the soak. Refold waits for servers and goes on after what fails, so that
// nothing but SIGKILL and an operator's SIGTERM ends it once it runs, whichever server is away: every other end is a fault, though
// whoever is started in its place would hide it.

export type End = {
  name: string
  /** Of the process, as its event `close` gives them. */
  code: number | null
  signal: NodeJS.Signals | null
  /** SIGTERM was sent. */
  isStopped: boolean
  /** It said that it runs. */
  isUp: boolean
  /** The last that it wrote. */
  tail: string
}

/** What is wrong with that end; undefined: nothing. */
export function endFault({ name, code, signal, isStopped, isUp, tail }: End): string | undefined {
  // At a fault point a process does this to itself, perhaps while it drains.
  if (signal === 'SIGKILL') return undefined
  if (!isStopped) return `${name} ended by itself with ${signal ?? code}: ${tail}`
  if (code === 0) return undefined
  // It had not come so far yet as to listen for it.
  if (signal === 'SIGTERM' && !isUp) return undefined
  return `${name} was stopped and ended with ${signal ?? code}: ${tail}`
}
