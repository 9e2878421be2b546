// npm run bench -- <name>: measures one thing of Refold, and in the same run the barest code for the same work.
//
// Rates depend on the machine and on what else it does; the ratio of two sides that took turns in one run says more.

import { parseArgs } from 'node:util'
import { asError } from '../errors.ts'
import { openGround } from './ground.ts'
import type { Bench, BenchOptions } from './measure.ts'

const BENCHES: Readonly<Record<string, { about: string; load(): Promise<{ bench: Bench }> }>> = {
  'catch-up': { about: 'the recorder, over records at rest', load: () => import('./catch-up.ts') },
  append: { about: 'POST /v1/events, 1 and 100 events a request', load: () => import('./append.ts') },
  lag: { about: 'append acknowledged → recorded, at a steady rate', load: () => import('./lag.ts') },
  latency: { about: 'append → in a projection, → at a reader of the Redis stream', load: () => import('./latency.ts') },
  replay: { about: 'the state of an execution of 10,000 events', load: () => import('./replay.ts') },
  workflows: { about: 'workflows over REST: steps, fan-out, signals, timers, kills', load: () => import('./workflows.ts') },
  peers: { about: 'the same workflows on Refold and on Restate, taking turns', load: () => import('./peers.ts') },
  projections: { about: 'catch-up of projections, over records at rest', load: () => import('./projections.ts') },
  reads: { about: 'GET /v1/executions/{id}', load: () => import('./reads.ts') },
}

const USAGE = `npm run bench -- <name> [options]

${Object.entries(BENCHES)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join('\n')}

  --rounds N   turns that each side takes (default: the bench's own)
  --events N   records, where a bench has records at rest (default 100000)
  --seconds N  how long a turn of a steady load takes
  --size N     append: events a request (default 1, then 100)
  --only SIDE  ours, or limit: for a profiler
  --clients N  workflows, peers: this many clients only (default 1, 16, 64 and 256)
  --fsync      workflows, peers: flush.messages=1 on all topics: Kafka fsyncs each batch before it acknowledges
  --part NAME  workflows: one part only: three, hops, fan, signal, steps, timers, kills; peers: three, fan, signal, steps, timers

Needs the servers: npm run refold -- stack up. A bench makes a database and topics of its own and drops them again.`

function whole(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} ${text} is not a whole number from 1`)
  return value
}

function optionsOf(values: Readonly<Record<string, string | boolean | undefined>>): BenchOptions {
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined)
  const only = text('only')
  if (only !== undefined && only !== 'ours' && only !== 'limit') throw new Error('--only is ours or limit')
  return {
    rounds: whole('rounds', text('rounds')),
    events: whole('events', text('events')),
    seconds: whole('seconds', text('seconds')),
    size: whole('size', text('size')),
    clients: whole('clients', text('clients')),
    part: text('part'),
    fsync: values['fsync'] === true,
    only,
  }
}

async function main(): Promise<number> {
  const option = { type: 'string' } as const
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: option,
      events: option,
      seconds: option,
      size: option,
      only: option,
      clients: option,
      part: option,
      fsync: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const [name = '', ...more] = positionals
  const chosen = BENCHES[name]
  if (values.help || !chosen || more.length > 0) {
    console.log(USAGE)
    return values.help ? 0 : 2
  }
  const options = optionsOf(values)
  const ground = await openGround()
  let interrupted = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      interrupted = true
      void ground.close().finally(() => process.exit(130))
    })
  try {
    const { bench } = await chosen.load()
    await bench(ground, options)
    return 0
  } finally {
    if (!interrupted) await ground.close()
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`bench: ${asError(error).stack}`)
  process.exitCode = 1
}
