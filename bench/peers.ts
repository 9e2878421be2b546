// Refold beside a peer on the same machine in the same run: times to beat are of another machine, on another day.

import type { Ground } from './ground.ts'
import { type Bench, introduce, millis, percentile, rate, say } from './measure.ts'
import { type Restate, startRestate } from './restate.ts'
import { startAll } from './server.ts'
import { agent, closedLoop, fsyncEach, signalToResult, start, stepsInARow, timed, timersLate } from './workflow-load.ts'

const CLIENTS = [1, 16, 64, 256]
const PARTS = ['three', 'fan', 'signal', 'steps', 'timers'] as const
type Part = (typeof PARTS)[number]

/** One figure of one engine, and what is worth a word beside it. */
type Taken = { figure: number; also?: string }
type Row = {
  part: Part
  name: string
  better: 'higher' | 'lower'
  show: (figure: number) => string
  refold: () => Promise<Taken>
  restate: () => Promise<Taken>
}

const median = async (times: number, one: () => Promise<number>): Promise<Taken> => {
  await one()
  const all: number[] = []
  for (let i = 0; i < times; i++) all.push(await one())
  return { figure: percentile(all, 0.5), also: `p99 ${millis(percentile(all, 0.99))}` }
}

async function loop(clients: number, seconds: number, one: () => Promise<unknown>): Promise<Taken> {
  await closedLoop(clients, 2, one)
  const { perSecond, times, cpu } = await closedLoop(clients, seconds, one)
  const p50 = percentile(times, 0.5)
  const also = `p99 ${millis(percentile(times, 0.99))}; ${cpu}`
  return clients === 1 ? { figure: p50, also: `${rate(perSecond)}, ${also}` } : { figure: perSecond, also: `p50 ${millis(p50)}, ${also}` }
}

function rowsOf(
  ground: Ground,
  server: Awaited<ReturnType<typeof startAll>>,
  restate: Restate,
  seconds: number,
  counts: readonly number[],
): Row[] {
  const late = async (taking: Promise<number[]>): Promise<Taken> => {
    const all = await taking
    return { figure: percentile(all, 0.5), also: `p99 ${millis(percentile(all, 0.99))}` }
  }
  return [
    ...counts.map((clients): Row => ({
      part: 'three',
      name: `three no-op steps, ${clients} client${clients === 1 ? ', p50' : 's'}`,
      ...(clients === 1 ? { better: 'lower', show: millis } : { better: 'higher', show: rate }),
      refold: () => loop(clients, seconds, () => start(server, 'three')),
      restate: () => loop(clients, seconds, () => restate.three()),
    })),
    {
      part: 'fan',
      name: 'fan-out of 100',
      better: 'lower',
      show: millis,
      refold: () => median(20, () => timed(() => start(server, 'fan', { count: 100 }))),
      restate: () => median(20, () => timed(() => restate.fan(100))),
    },
    {
      part: 'signal',
      name: 'signal to result',
      better: 'lower',
      show: millis,
      refold: () => median(50, () => signalToResult(server)),
      restate: () => median(50, () => restate.signalToResult()),
    },
    ...[200, 2000].map((count): Row => ({
      part: 'steps',
      name: `a step of ${count} in a row`,
      better: 'lower',
      show: millis,
      refold: async () => {
        const { each, cpu } = await stepsInARow(ground, server, count)
        return { figure: each, also: cpu }
      },
      restate: async () => ({ figure: await restate.steps(count) }),
    })),
    {
      part: 'timers',
      name: '200 timers of 1 s, late p50',
      better: 'lower',
      show: millis,
      refold: () => late(timersLate(server)),
      restate: () => late(restate.timersLate()),
    },
  ]
}

export const bench: Bench = async (ground, { rounds = 3, seconds = 5, clients, part, fsync }) => {
  if (part !== undefined && !PARTS.some((known) => known === part)) throw new Error(`--part ${part}: one of ${PARTS.join(', ')}`)
  introduce(
    'Refold and Restate, taking turns: workflows over HTTP, closed loop; Refold with all roles in one process',
    'request sent → result in hand. Durable then: with Refold acknowledged by Kafka (one broker: in its page cache, with --fsync on disk), with Restate by its defaults (fsync)',
    'cold starts: each engine is warm',
  )
  const server = await startAll(ground, {
    roles: 'api,recorder,runtime,worker',
    app: 'bench/workflow-app.ts',
    env: { REFOLD_REMEMBERED_EXECUTIONS: '10000' },
  })
  if (fsync) await fsyncEach(ground)
  const restate = await startRestate(ground)
  const rows = rowsOf(ground, server, restate, seconds, clients ? [clients] : CLIENTS).filter(
    (row) => part === undefined || row.part === part,
  )
  // What is not measured goes first: warm code.
  await closedLoop(16, 5, () => start(server, 'three'))
  await closedLoop(16, 5, () => restate.three())
  if (rows.some((row) => row.part === 'steps')) {
    await stepsInARow(ground, server, 1000)
    await restate.steps(1000)
  }
  for (const { name, better, show, ...engines } of rows) {
    say(`  ${name}`)
    const figures = { refold: [] as number[], restate: [] as number[] }
    for (let round = 0; round < rounds; round++) {
      for (const engine of ['refold', 'restate'] as const) {
        const { figure, also } = await engines[engine]()
        figures[engine].push(figure)
        say(`    ${engine.padEnd(8)} ${show(figure).padEnd(9)} ${also ?? ''}`)
      }
    }
    const [ours, theirs] = [percentile(figures.refold, 0.5), percentile(figures.restate, 0.5)]
    const factor = better === 'higher' ? ours / theirs : theirs / ours
    const won = figures.refold.filter((figure, i) =>
      better === 'higher' ? figure > (figures.restate[i] ?? 0) : figure < (figures.restate[i] ?? 0),
    ).length
    say(`    medians: ${show(ours)} beside ${show(theirs)}; ${factor.toFixed(2)} times as good; better in ${won} of ${rounds} rounds`)
  }
  await server.stop()
  agent.destroy()
}
