// A server that is away, while the others that share it go on.

import { connect, createServer, type Server, type Socket } from 'node:net'

export type Door = { url: string; shut: () => void; open: () => Promise<void>; close: () => void }

/** Redis behind a door that can be shut. */
export function doorTo(url: string): Promise<Door> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  let server: Server
  const listen = (port: number) =>
    new Promise<number>((resolve) => {
      server = createServer((from) => {
        const to = connect(Number(target.port), target.hostname)
        for (const socket of [from, to]) {
          sockets.add(socket)
          socket.on('error', () => socket.destroy())
          socket.on('close', () => {
            sockets.delete(socket)
            from.destroy()
            to.destroy()
          })
        }
        from.pipe(to).pipe(from)
      }).listen(port, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
    })
  const shut = () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return listen(0).then((port) => ({
    url: `redis://127.0.0.1:${port}/${1 + (process.pid % 15)}`,
    shut,
    open: async () => void (await listen(port)),
    close: shut,
  }))
}
