// Which release a broker is of. It never says so; it does say up to which metadata.version it goes, and each release has its own.

import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Newest metadata.version level of each release (org.apache.kafka.server.common.MetadataVersion). */
const RELEASES: readonly (readonly [level: number, release: string])[] = [
  [7, '3.3'],
  [8, '3.4'],
  [11, '3.5'],
  [14, '3.6'],
  [19, '3.7'],
  [20, '3.8'],
  [21, '3.9'],
  [25, '4.0'],
  [27, '4.1'],
  [29, '4.2'],
  [30, '4.3'],
]

/** As `4.3`; undefined when it is older than 3.3 or doesn't answer within so many ms. */
export async function releaseOf(host: string, port: number, within: number): Promise<string | undefined> {
  const answer = await Promise.race([apiVersions(host, port), pause(within, null, { ref: false })])
  const level = answer && metadataLevel(answer)
  if (!level) return undefined
  return RELEASES.find(([newest]) => level <= newest)?.[1] ?? `newer than ${RELEASES.at(-1)?.[1]}`
}

/** Asks for ApiVersions, version 3; gives the answer's body, or null. */
function apiVersions(host: string, port: number): Promise<Buffer | null> {
  const name = Buffer.from('refold')
  const compact = Buffer.from([name.length + 1, ...name])
  // Key 18, version 3, correlation 1, no client id, no tags; then the software's name and version, no tags.
  const request = Buffer.concat([Buffer.from([0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0]), compact, Buffer.from([2, 0x31, 0])])
  const length = Buffer.alloc(4)
  length.writeInt32BE(request.length)
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    let heard = Buffer.alloc(0)
    const done = (answer: Buffer | null) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(2000, () => done(null))
    socket.once('error', () => done(null))
    socket.once('close', () => done(null))
    socket.once('connect', () => socket.write(Buffer.concat([length, request])))
    socket.on('data', (chunk) => {
      heard = Buffer.concat([heard, chunk])
      if (heard.length >= 4 && heard.length >= 4 + heard.readInt32BE(0)) done(heard.subarray(4))
    })
  })
}

/** The highest metadata.version that the broker supports: tagged field 0 of the answer. */
function metadataLevel(answer: Buffer): number | undefined {
  let at = 4 // past the correlation id
  const unsigned = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = answer.readUInt8(at++)
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const skipTags = () => {
    for (let left = unsigned(); left > 0; left--) {
      unsigned()
      at += unsigned()
    }
  }
  try {
    if (answer.readInt16BE(at) !== 0) return undefined
    at += 2
    for (let left = unsigned() - 1; left > 0; left--) {
      at += 6 // key, lowest and highest version
      skipTags()
    }
    at += 4 // throttle time
    for (let tags = unsigned(); tags > 0; tags--) {
      const tag = unsigned()
      const size = unsigned()
      const end = at + size
      for (let left = tag === 0 ? unsigned() - 1 : 0; left > 0; left--) {
        const length = unsigned() - 1
        const name = answer.toString('utf8', at, (at += length))
        at += 2 // lowest
        const highest = answer.readInt16BE(at)
        at += 2
        skipTags()
        if (name === 'metadata.version') return highest
      }
      at = end
    }
    return undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined // cut short, or not what we think it is
    throw error
  }
}
