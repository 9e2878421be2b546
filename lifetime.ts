// Who opens a thing pushes how to close it; closing unwinds last-in first-out, once, and tries every one. What is opened
// while it closes, by a start that was told to stop, is closed in the same pass.

export type Lifetime = {
  /** Gives back what was opened, and closes it in its turn. */
  owns<T>(opened: T, close: (opened: T) => unknown): T
  /** Closes everything; called again, it gives the same promise. Rejects with what failed, after all were tried. */
  close(): Promise<void>
}

export function createLifetime(): Lifetime {
  const closers: (() => unknown)[] = []
  let closing: Promise<void> | undefined
  let closed = false

  async function unwind(): Promise<void> {
    const errors: unknown[] = []
    for (let close = closers.pop(); close; close = closers.pop()) {
      try {
        await close()
      } catch (error) {
        errors.push(error)
      }
    }
    closed = true
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'Some parts did not close')
  }

  return {
    owns(opened, close) {
      // Nobody waits for what comes when all is closed: its failure is nobody's.
      if (closed) void Promise.try(() => close(opened)).catch(() => undefined)
      else closers.push(() => close(opened))
      return opened
    },
    close: () => (closing ??= unwind()),
  }
}
