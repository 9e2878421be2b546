// A reader of notifications that knows only the contract (docs/notifications.md): a group, fields by name, `previous_position`,
// and REST. It asks REST for each event at the moment it is told of it.

import { Redis } from 'ioredis'
import { eachOf, type Rest } from './rest.ts'

export type Told = Readonly<Record<string, string>>

type Place = { partition: string; offset: number }

/** `p7:120345`; '' is before everything. */
const placeOf = (position: string): Place => {
  const [partition = '', offset = '-1'] = position.slice(1).split(':')
  return { partition, offset: Number(offset) }
}

const GROUP = 'independent'
const AT_ONCE = 8

export type NotificationReader = {
  /** First notification of each position, in the order they came. */
  seen: ReadonlyMap<string, Told>
  /** What the contract does not allow. */
  faults: readonly string[]
  repeats(): number
  /** Times that its group was gone. */
  regrouped(): number
  stop(): Promise<void>
}

/** Reads from now on, from the oldest entry; goes on over lost connections and lost data. */
export function readNotifications(url: string, stream: string, rest: Rest): NotificationReader {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 100 })
  redis.on('error', () => undefined) // away: it connects again
  const stopping = new AbortController()
  const seen = new Map<string, Told>()
  const faults: string[] = []
  const last = new Map<string, number>()
  let repeats = 0
  let regrouped = 0

  function order(told: Told): boolean {
    const { position = '', previous_position: previous = '' } = told
    const { partition, offset } = placeOf(position)
    const before = last.get(partition) ?? -1
    if (offset <= before) {
      repeats++
      if (!seen.has(position)) faults.push(`${position} came first after p${partition}:${before}`)
      return false
    }
    if (placeOf(previous).offset !== before) faults.push(`${position} follows ${previous}, but the last seen was p${partition}:${before}`)
    last.set(partition, offset)
    seen.set(position, told)
    return true
  }

  async function readable(told: Told): Promise<void> {
    const { execution_id: execution = '', event_id: event = '', seq = '', position = '' } = told
    const found = await rest.get(`/v1/executions/${execution}/events?after=${Number(seq) - 1}&limit=1`)
    if (found.status !== 200 || !found.text.includes(event)) faults.push(`${position} is not readable: ${found.status} ${found.text}`)
  }

  async function page(): Promise<void> {
    const read = (await redis.xreadgroup('GROUP', GROUP, 'me', 'COUNT', 100, 'BLOCK', 100, 'STREAMS', stream, '>')) as
      | [string, [string, string[]][]][]
      | null
    const entries = read?.[0]?.[1] ?? []
    const told = entries.map(([, fields]): Told =>
      Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] ?? '']] : []))),
    )
    await eachOf(told.filter(order), AT_ONCE, readable)
    if (entries.length > 0) await redis.xack(stream, GROUP, ...entries.map(([id]) => id))
  }

  const work = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await page()
      } catch (error) {
        if (!/NOGROUP|ECONN|EPIPE|Connection is closed|timed out/.test(String(error))) throw error
        // Flushed, or back without its data: the group is made again, from the oldest entry on.
        const made = await redis.xgroup('CREATE', stream, GROUP, '0', 'MKSTREAM').catch(() => undefined)
        if (made !== undefined) regrouped++
      }
    }
  })()
  work.catch((error: unknown) => faults.push(`the reader stopped: ${String(error)}`))

  return {
    seen,
    faults,
    repeats: () => repeats,
    regrouped: () => regrouped,
    async stop() {
      stopping.abort()
      await work.catch(() => undefined)
      redis.disconnect()
    },
  }
}
