// produce → [log] → recorder | runtime | projector → state → REST
//
// A reader: member of a group, time and again. Owns: joining, joining again after a crash, the watchdog, the health that
// readiness shows. Doesn't own: one membership (member.ts), one partition (assigned.ts).
//
// R1  A client that crashed, or stands still, is thrown away and built anew; it never restarts itself.
// R2  Stuck = assigned, lag above 0, checkpoint unmoved for `stuckAfter`. A busy or failing handler turns readiness red, but a
//     new client would not help it.

import { setTimeout as pause } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { RefoldError, asError } from '../errors.ts'
import type { Admin } from './admin.ts'
import type { Assigned } from './assigned.ts'
import { logError } from './client.ts'
import type { LineLogger } from './client.ts'
import type { LogReader, ReaderHealth, ReaderOptions } from './log.ts'
import { createMember } from './member.ts'
import type { GroupSettings, Member } from './member.ts'
import type { SharedFetches } from './shared-fetches.ts'

export type ReaderSettings = GroupSettings & { stuckAfter: number }

export type ReaderPorts = { kafka(): Kafka; admin: Admin; logger: LineLogger; shared?: SharedFetches | undefined }

const BACK_OFF = { first: 250, most: 2000 }

export function createReader(options: ReaderOptions, settings: ReaderSettings, ports: ReaderPorts): LogReader {
  const { topic, group } = options
  const { admin, logger } = ports
  let member: Member | undefined
  let joinedOnce: PromiseWithResolvers<void> | undefined
  let running: Promise<void> | undefined
  let stopping = new AbortController()
  let fatal = false
  let inGroup = false
  let lastError: string | undefined
  const progress = new Map<number, { next: number; since: number }>()
  const stuck = new Set<number>()

  function start(): Promise<void> {
    if (!joinedOnce) {
      joinedOnce = Promise.withResolvers()
      stopping = new AbortController()
      fatal = false
      running = run(joinedOnce)
    }
    return joinedOnce.promise
  }

  async function run(joined: PromiseWithResolvers<void>): Promise<void> {
    const watchdog = setInterval(() => void look().catch(noteError), settings.stuckAfter / 3)
    for (let tries = 0; !stopping.signal.aborted; tries++) {
      const failure = await membership(() => {
        tries = 0
        fatal = false
        inGroup = true
        joined.resolve()
      })
      if (stopping.signal.aborted) break
      const error = logError(failure, `reading ${topic} as ${group}`)
      noteError(error)
      fatal = error.code === 'log-topic-missing'
      if (fatal) joined.reject(error) // no effect once it has joined: then it goes on trying
      const facts = { topic, group, tries, error: error.message }
      logger[tries === 0 ? 'warn' : 'debug'](facts, 'the reader lost its group; it joins again')
      await pause(Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** tries), undefined, { signal: stopping.signal }).catch(() => undefined)
    }
    clearInterval(watchdog)
    joined.reject(new RefoldError('log-closed', `${group} was stopped before it had joined`)) // likewise
  }

  // One membership, to its end; answers why it ended.
  async function membership(hasJoined: () => void): Promise<unknown> {
    const current = createMember(options, settings, { kafka: ports.kafka(), admin, logger, shared: ports.shared, failed: noteError })
    member = current
    progress.clear()
    let failure: unknown
    try {
      const over = current.ended.then((reason) => ({ reason }))
      const before = await Promise.race([current.join(), over])
      if (!before) hasJoined()
      failure = (await over).reason
    } catch (error) {
      failure = error
    }
    member = undefined
    inGroup = false
    await current.leave(stopping.signal.aborted)
    return failure
  }

  async function stop(): Promise<void> {
    if (!running) return
    stopping.abort()
    member?.end()
    joinedOnce?.promise.catch(() => undefined)
    await running
    running = undefined
    joinedOnce = undefined
  }

  function noteError(error: unknown): void {
    lastError = asError(error).message
  }

  async function look(): Promise<void> {
    const current = member
    const assigned = current?.assigned()
    if (!current || !assigned || assigned.size === 0) return
    const bounds = await admin.bounds(topic)
    if (current !== member) return
    let standing = false
    const before = stuck.size
    for (const { partition, high } of bounds) {
      const each = assigned.get(partition)
      if (each && !each.closed) standing = judge(each, high) || standing
      else stuck.delete(partition)
    }
    if (!standing) return
    const idle = [...assigned.values()].every(({ busy, phase }) => !busy && phase.name === 'reading')
    if (idle || stuck.size > before)
      logger.warn(
        { topic, group, partitions: [...stuck], rebuild: idle },
        `no progress for ${settings.stuckAfter} ms, with records waiting`,
      )
    if (idle) current.end(new RefoldError('log-unavailable', `the client stood still for ${settings.stuckAfter} ms`))
  }

  // Answers whether this membership let the partition stand still. It stays stuck, across memberships, until it moves.
  function judge(each: Assigned, high: number): boolean {
    const { partition, next } = each
    each.highWatermark = Math.max(each.highWatermark, high)
    const before = progress.get(partition)
    if (!before || before.next !== next || next >= high) {
      progress.set(partition, { next, since: performance.now() })
      if (before || next >= high) stuck.delete(partition)
      return false
    }
    if (performance.now() - before.since < settings.stuckAfter) return false
    stuck.add(partition)
    return true
  }

  function state(): ReaderHealth['state'] {
    if (!running) return 'stopped'
    const phases = [...(member?.assigned().values() ?? [])].map(({ phase }) => phase)
    if (fatal || phases.some((phase) => phase.name === 'resting' && phase.error.code === 'log-replaced')) return 'failed'
    if (stuck.size > 0) return 'stuck'
    return inGroup ? 'running' : 'joining'
  }

  function health(): ReaderHealth {
    const partitions = new Map<number, { next: number; highWatermark: number }>()
    for (const { partition, next, highWatermark } of member?.assigned().values() ?? []) partitions.set(partition, { next, highWatermark })
    return { state: state(), partitions, ...(lastError === undefined ? {} : { lastError }) }
  }

  return { start, stop, health }
}
