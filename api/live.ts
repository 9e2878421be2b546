// Answers that do not end by themselves: server-sent events, or a JSON value a line.

import type { FastifyReply, FastifyRequest } from 'fastify'

/** Sends the texts until the client leaves or the API closes; slow clients are waited for. */
export async function sendLive(
  request: FastifyRequest,
  reply: FastifyReply,
  contentType: string,
  closing: AbortSignal,
  texts: (gone: AbortSignal) => AsyncIterable<string>,
): Promise<FastifyReply> {
  reply.hijack()
  const { raw } = reply
  const gone = new AbortController()
  raw.once('close', () => gone.abort())
  raw.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
  try {
    for await (const text of texts(AbortSignal.any([gone.signal, closing])))
      if (!raw.write(text))
        await new Promise<void>((resolve) => {
          raw.once('drain', resolve)
          raw.once('close', resolve)
        })
  } catch (error) {
    request.log.warn({ err: error }, 'a stream ended early')
  }
  raw.end()
  return reply
}
