// Generations of the recorder's derived tables that are not live, followed; and operations on them, worked off. Any recorder
// process takes the next step; of each generation one process is the follower, as long as its connection lives.

import { setTimeout as pause } from 'node:timers/promises'
import type { Pool, PoolClient } from 'pg'
import { createBackOff } from '../consumers/back-off.ts'
import { createFollower, type Follower } from '../consumers/derived.ts'
import { createOperations } from '../consumers/operations.ts'
import { asError } from '../errors.ts'
import type { Lifetime } from '../lifetime.ts'
import { createDerivedControl } from '../postgres/derived-control.ts'
import { createDerivedStore } from '../postgres/derived-store.ts'
import { DERIVED } from '../postgres/derived-tables.ts'
import { createLiveLag } from '../postgres/live-lag.ts'
import { createPgPool } from '../postgres/pool.ts'
import { READER } from '../postgres/recorder-store.ts'
import { type Base, type StartOptions, untilUp } from './base.ts'
import { keepLooking } from './looking.ts'
import { heedPersonsOffsets, heedStanding, STANDING_EVERY } from './persons-offsets.ts'

/** After a page that was not stored, and while another process looks at the group's offsets, ms. */
const AGAIN = 500
/** Between two rounds of a follower that has nothing to fold; while something is compared or promoted it must be quick, ms. */
const IDLE = 20

type Followed = { stop(): Promise<void>; done: boolean }

export async function startDerived(
  { config, addresses, logger }: StartOptions,
  { log, topic, partitions, faults }: Base,
  lifetime: Lifetime,
): Promise<void> {
  const owner = lifetime.owns(createPgPool(addresses.databaseUrl, { max: 4, name: 'refold-derived-operations' }), (opened) => opened.end())
  const pool = lifetime.owns(
    createPgPool(addresses.databaseUrl, { max: 6, name: 'refold-derived', role: 'refold_engine', byKey: true }),
    (opened) => opened.end(),
  )
  const control = createDerivedControl(owner, pool, partitions)
  const recorderLag = createLiveLag(owner, () => log.bounds(topic), 'recorder')
  const operations = createOperations(control.operations, (facts, line) => logger.warn(facts, line), recorderLag)
  const backOff = createBackOff(recorderLag)
  await untilUp(logger, 'database', control.sync)
  const group = `${config.topicPrefix}.recorder`
  const heeding = { log, topic, pool: owner, logger }
  const heed = async () =>
    heedPersonsOffsets(heeding, { group, projection: DERIVED, reader: READER, checkpoints: await control.checkpoints() })
  while (!(await untilUp(logger, `offsets of group ${group}`, heed))) await pause(AGAIN)

  const idle = (ms: number, signal: AbortSignal) => pause(ms, undefined, { signal }).catch(() => undefined)

  /** Gives how many records it is behind then. */
  async function round(follower: Follower, signal: AbortSignal): Promise<number> {
    try {
      const behind = (await follower.follow(signal)) ?? 0
      if (behind === 0) await idle(IDLE, signal)
      return behind
    } catch (error) {
      logger.warn({ error: asError(error).message }, 'a page of a generation of the derived tables was not stored; it is again')
      await idle(AGAIN, signal)
      return Infinity
    }
  }

  /** Follows one generation, if nobody else does. */
  async function follow(generation: number, isBuilding: boolean): Promise<Followed | undefined> {
    const client = await lockFor(pool, generation)
    if (!client) return undefined
    const ending = new AbortController()
    const followed: Followed = { done: false, stop: () => (ending.abort(), work) }
    // The lock is gone with its connection.
    client.once('error', () => ending.abort())
    const follower = createFollower({ store: createDerivedStore(pool, generation), faults, remembered: config.stateCacheSize })
    const work = (async () => {
      for (let behind = Infinity; !ending.signal.aborted;) {
        // One that is as far as the recorder costs little, and must be quick while it is compared or promoted.
        if (isBuilding && behind > 0) await backOff(behind, ending)
        behind = await round(follower, ending.signal)
      }
      followed.done = true
      client.release(true)
    })()
    return followed
  }

  const followers = new Map<string, Followed>()

  async function look(): Promise<void> {
    const wanted = new Map((await control.followed()).map((one) => [`${one.generation} ${one.state}`, one]))
    for (const [name, one] of followers)
      if (one.done || !wanted.has(name)) {
        followers.delete(name)
        await one.stop()
      }
    for (const [name, { generation, state }] of wanted) {
      if (followers.has(name)) continue
      const followed = await follow(generation, state === 'building')
      if (followed) followers.set(name, followed)
    }
    await operations.advance()
  }

  const looking = keepLooking(look, logger, 'generations of the derived tables could not be looked at; again')
  const heedRead = () => heedStanding(heeding, [{ group, isRead: true, heed }])
  const standing = keepLooking(heedRead, logger, 'the group could not be looked at; again', {
    every: STANDING_EVERY,
    first: STANDING_EVERY,
  })
  lifetime.owns(followers, async (all) => {
    await Promise.all([looking.stop(), standing.stop()])
    await Promise.all([...all.values()].map((one) => one.stop()))
  })
}

/** A connection that holds the lock of whoever follows a generation; undefined: another process has it. */
async function lockFor(pool: Pool, generation: number): Promise<PoolClient | undefined> {
  const client = await pool.connect()
  try {
    const { rows } = await client.query<{ mine: boolean }>('SELECT pg_try_advisory_lock(hashtext($1)) AS mine', [
      `refold.derived.g${generation}`,
    ])
    if (rows[0]?.mine === true) return client
  } catch (error) {
    client.release(true)
    throw error
  }
  client.release()
  return undefined
}
