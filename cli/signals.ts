// What Ctrl-C means to a command that stays: the first signal drains, the second forces.

/** Signals this close together are one Ctrl-C, heard from the terminal, from npm and from the launcher. Milliseconds. */
const SAME = 500

let isTold = false

/**
 * Resolves with the first SIGINT, SIGTERM or SIGHUP. From then on another one, later than half a second, ends the process
 * at once with the signal's exit code.
 */
export function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let first: number | undefined
    const heard = (signal: NodeJS.Signals, code: number) => {
      const now = performance.now()
      isTold = true
      if (first === undefined) {
        first = now
        resolve(signal)
      } else if (now - first > SAME) process.exit(128 + code)
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, heard)
  })
}

/** What is left of the event loop then is nothing that anybody waits for, ms. */
const IDLE_AFTER = 1000

/** A process that is told to stop has ended after, ms; one with workers after their drain and SPARE. */
const MOST = 9500
const SPARE = 1500
export const stopLimit = (roles: readonly string[], { workerDrain }: { workerDrain: number }): number =>
  roles.includes('worker') ? workerDrain + SPARE : MOST

/** Waits for an end, for at most `ms`; gives whether it came. */
export async function inTime(ms: number, ending: Promise<unknown>): Promise<boolean> {
  const { promise: timeUp, resolve } = Promise.withResolvers<false>()
  const timer = setTimeout(() => resolve(false), ms)
  try {
    return await Promise.race([ending.then(() => true), timeUp])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Waits for the end of everything, for at most `ms`. Then, at the latest a second later, the process ends, whatever a client's
 * library still has open. `late` is told when not everything ended: a process that is killed loses nothing either.
 */
export async function endWithin(ms: number, ending: Promise<unknown>, late: () => void): Promise<void> {
  try {
    if (await inTime(ms, ending)) return
    late()
    process.exit()
  } finally {
    setTimeout(() => process.exit(), IDLE_AFTER).unref()
  }
}

/** Between two looks whether the launcher lives, ms. */
const LOOK_EVERY = 1000

/** A process that bin/refold.js launched ends as by SIGTERM when its launcher is gone: killed, that one could hand no signal on. */
export function endWithLauncher(): void {
  const launcher = Number(process.env['REFOLD_LAUNCHER'] ?? 0)
  // Of others it is only inherited.
  if (process.ppid !== launcher) return
  const looking = setInterval(() => {
    if (process.ppid === launcher) return
    clearInterval(looking)
    // Told to stop already: a second signal would cut that short.
    if (!isTold) process.kill(process.pid, 'SIGTERM')
  }, LOOK_EVERY).unref()
}
