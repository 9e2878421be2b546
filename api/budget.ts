// How many bytes of request bodies may be in the process at once. A request beyond that is not read until others are
// done (its sender feels TCP's back-pressure), and refused when that takes too long.

import { RefoldError } from '../errors.ts'

export type ByteBudget = {
  /** Resolves with the way to give the bytes back (safe to call twice); rejects `overloaded` after the wait. */
  take(bytes: number): Promise<() => void>
  readonly free: number
}

type Waiting = { bytes: number; grant: () => void }

/** `total` in bytes; a take of more than that counts as all of it. `longestWait` in ms. */
export function createByteBudget(total: number, longestWait: number): ByteBudget {
  let free = total
  const queue: Waiting[] = []

  function grantNext(): void {
    while (queue[0] && queue[0].bytes <= free) queue.shift()!.grant()
  }

  function giver(bytes: number): () => void {
    let given = false
    return () => {
      if (given) return
      given = true
      free += bytes
      grantNext()
    }
  }

  function wait(bytes: number): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        queue.splice(queue.indexOf(waiting), 1)
        grantNext()
        reject(new RefoldError('overloaded', `${total} bytes of requests are being worked on already`))
      }, longestWait)
      const waiting: Waiting = {
        bytes,
        grant: () => {
          clearTimeout(timer)
          free -= bytes
          resolve(giver(bytes))
        },
      }
      queue.push(waiting)
    })
  }

  return {
    async take(asked) {
      const bytes = Math.min(asked, total)
      if (queue.length > 0 || bytes > free) return wait(bytes)
      free -= bytes
      return giver(bytes)
    },
    get free() {
      return free
    },
  }
}
