// Who opens a thing pushes how to close it; closing unwinds last-in first-out, once, and tries every one.

export type Lifetime = {
  /** Gives back what was opened, and closes it in its turn. */
  owns<T>(opened: T, close: (opened: T) => unknown): T
  /** Closes everything; called again, it gives the same promise. Rejects with what failed, after all were tried. */
  close(): Promise<void>
}

export function createLifetime(): Lifetime {
  const closers: (() => unknown)[] = []
  let closing: Promise<void> | undefined

  async function unwind(): Promise<void> {
    const errors: unknown[] = []
    for (let close = closers.pop(); close; close = closers.pop()) {
      try {
        await close()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors, 'Some parts did not close')
  }

  return {
    owns(opened, close) {
      closers.push(() => close(opened))
      return opened
    },
    close: () => (closing ??= unwind()),
  }
}
