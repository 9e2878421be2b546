// One small question over TCP, to learn whether a server answers.

import { connect } from 'node:net'

/** Sends `question` and gives the first bytes that come back, or null when there are none within a second. */
export function ask(host: string, port: number, question: Uint8Array): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const done = (answer: Buffer | null) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(1000, () => done(null))
    socket.once('error', () => done(null))
    socket.once('close', () => done(null))
    socket.once('connect', () => socket.write(question))
    socket.once('data', (data) => done(data))
  })
}
