// Projections over records at rest: catch-up of a fold (a row an execution) and of a counter (tenant, state, hour), each turn into
// a new generation, as a rebuild does, beside code by hand that reads no verdicts.

import { fork } from 'node:child_process'
import path from 'node:path'
import { createPgPool } from '../postgres/pool.ts'
import { createProjectionControl } from '../postgres/projection-control.ts'
import { eventsFrom } from './events.ts'
import { fill, type Ground, PARTITIONS } from './ground.ts'
import { type Bench, introduce, percent, rate, say, spreadOf, takeTurns } from './measure.ts'
import { benchProjections, cases } from './projection-definitions.ts'
import type { Taken, Turn } from './projection-turn.ts'

const TURN = path.join(import.meta.dirname, 'projection-turn.ts')

/** A turn in a process of its own. */
function inProcess(turn: Turn): Promise<Taken> {
  const child = fork(TURN, [JSON.stringify(turn)], { execArgv: ['--disable-warning=TimeoutNegativeWarning', ...process.execArgv] })
  return new Promise((resolve, reject) => {
    let taken: Taken | undefined
    child.on('message', (message) => (taken = message as Taken))
    child.once('error', reject)
    child.once('close', (code) => (taken ? resolve(taken) : reject(new Error(`the turn of ${turn.side} ended with ${code}`))))
  })
}

async function check(ground: Ground, count: number, table: string): Promise<void> {
  const { rows } = await ground.admin.query<{ events: string }>(`SELECT sum(events) AS events FROM ${table}`)
  if (Number(rows[0]?.events) !== count) throw new Error(`of ${count} events ${rows[0]?.events} are in ${table}`)
}

const secondsA = (million: number, { nodeCpu, postgresCpu }: Taken) => (nodeCpu + postgresCpu) / million

export const bench: Bench = async (ground, { events: count = 200_000, rounds = 3, only }) => {
  introduce(
    `Projections: ${count} records at rest, ${PARTITIONS} partitions, each turn into an empty generation, in a process of its own`,
    'first batch in hand → last commit: verdicts and the recorder’s checkpoint read, decode, fold, upsert, checkpoint by compare-and-set',
    'joining the group. Limit: by hand, kafkajs, avsc, the same fold, the same upsert; it reads no verdicts and survives nothing',
  )
  const pool = createPgPool(ground.databaseUrl, { max: 4, name: 'bench-control' })
  const control = createProjectionControl(pool, benchProjections, PARTITIONS)
  for (const projection of benchProjections) await control.sync(projection)
  say('  filling the log …')
  await fill(ground, eventsFrom(count))
  // As if a recorder had accepted everything: it is not what is measured.
  for (const { partition, high } of await ground.log.bounds(ground.topic))
    await ground.admin.query(
      `INSERT INTO refold.checkpoints (reader, partition, next_offset) VALUES ('recorder', $1, $2) ON CONFLICT (reader, partition) DO UPDATE SET next_offset = excluded.next_offset`,
      [partition, high],
    )
  let generation = 1
  /** Each turn builds a generation of its own. */
  const fresh = async () => {
    for (const { name } of benchProjections) {
      await control.dropGeneration(name, generation)
      await control.operations.makeGeneration(name)
    }
    generation++
  }
  const million = count / 1e6
  const cpu = new Map<string, number[]>()
  const sideOf = (side: 'ours' | 'limit', folds: readonly string[]) => ({
    name: side,
    turn: async () => {
      await fresh()
      const { addresses, topic, databaseUrl } = ground
      const group = ground.fresh(side)
      const taken = await inProcess({ side, folds, generation, count, brokers: addresses.kafkaBrokers, topic, databaseUrl, group })
      for (const name of folds) {
        const own = `refold_p_${name}_g${generation}.${name}`
        await check(ground, count, side === 'ours' ? own : name === cases.name ? 'hand' : 'hand_counts')
      }
      const name = `${side} ${folds.length}`
      cpu.set(name, [...(cpu.get(name) ?? []), secondsA(million, taken)])
      const parts = `${(taken.nodeCpu / million).toFixed(1)} Node + ${(taken.postgresCpu / million).toFixed(1)} Postgres`
      return { figure: count / taken.seconds, also: `RSS at most ${Math.round(taken.rssMost)} MB`, cpu: `CPU s a million: ${parts}` }
    },
  })
  for (const folds of [[cases.name], benchProjections.map(({ name }) => name)]) {
    say(folds.length === 1 ? '  the fold alone' : '  the fold and the counter together')
    await takeTurns([sideOf('ours', folds), sideOf('limit', folds)], rate, 'higher', { rounds, only })
  }
  const cpuOf = (name: string) => spreadOf((cpu.get(name) ?? []).slice(1)).median
  for (const folds of [1, 2]) {
    const [ours, limit] = [cpuOf(`ours ${folds}`), cpuOf(`limit ${folds}`)]
    say(
      `  CPU s a million, ${folds === 1 ? 'the fold' : 'both'}: ours ${ours.toFixed(1)}, limit ${limit.toFixed(1)} (${percent(ours / limit)})`,
    )
  }
  say(
    `  both take ${percent(cpuOf('ours 2') / cpuOf('ours 1') - 1)} more CPU than the fold alone; by hand ${percent(cpuOf('limit 2') / cpuOf('limit 1') - 1)}`,
  )
  await pool.end()
}
