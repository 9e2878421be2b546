// npm run soak -- --seed N --minutes M: the whole proof, for as long as asked. Each round has its own seed and its own,
// fresh servers; at least one round is run whole. Exit code 1 at the first fault.

import { rmSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { FAULT_POINTS } from '../../faults.ts'
import { down } from '../../stack/stack.ts'
import { runSpine, type SpineReport } from './spine.ts'

const USAGE = `npm run soak -- [--seed N] [--minutes M] [--events E]

Events flow while the recorder is killed and made to fail at every fault point, Postgres is killed, Redis is flushed, and two
recorders fight over the same partitions for a minute. At the end each event counts once, or the exit code is 1.

  --seed N      of the first round (default 1); the next has N + 1
  --minutes M   rounds are begun until so many minutes have passed (default 10)
  --events E    of a round (default 100000)`

const whole = (text: string, name: string): number => {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) {
    console.error(`--${name} is ${text}, not a whole number from 1\n\n${USAGE}`)
    process.exit(2)
  }
  return number
}

async function round(seed: number, events: number): Promise<SpineReport> {
  const folder = path.join(import.meta.dirname, '..', '..', '.refold', `soak-${seed}`)
  const say = (line: string) => console.error(`${new Date().toISOString()} seed ${seed}: ${line}`)
  try {
    return await runSpine({ folder, seed, events, executions: Math.ceil(events / 10), kills: 2, postgresStops: 3, rivalSeconds: 60, say })
  } finally {
    await down(folder, say, { erase: true })
    rmSync(folder, { recursive: true, force: true })
  }
}

function faultsOf({ hits, overtaken, faults }: SpineReport): string[] {
  const missed = FAULT_POINTS.filter((point) => point.startsWith('recorder:') && (hits[`${point} kill`] ?? 0) < 2)
  return [
    ...faults,
    ...missed.map((point) => `${point} was hit fewer than two times`),
    ...(overtaken > 0 ? [] : ['the compare-and-set never refused']),
  ]
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '10' },
    events: { type: 'string', default: '100000' },
    help: { type: 'boolean' },
  },
})
if (values.help) {
  console.log(USAGE)
  process.exit(0)
}
const first = whole(values.seed, 'seed')
const end = performance.now() + whole(values.minutes, 'minutes') * 60_000
const events = whole(values.events, 'events')

for (let seed = first; seed === first || performance.now() < end; seed++) {
  const report = await round(seed, events)
  const faults = faultsOf(report)
  console.log(JSON.stringify({ seed, ...report, faults: faults.slice(0, 20) }, null, 2))
  if (faults.length > 0) process.exit(1)
}
