// What an event causes in a workflow function: all that its promises do until none is left.

/** Calls `close`, then resolves, once no microtask is left: next ticks run when the queue of microtasks is empty. */
export const drain = (close: () => void) =>
  new Promise<void>((resolve) =>
    queueMicrotask(() =>
      process.nextTick(() => {
        close()
        resolve()
      }),
    ),
  )
