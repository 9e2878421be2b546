// ledger, log, deaths → [which effects are explained]
//
// An at-least-once action may have its effect more than once. Here is judged whether each repeat had to be: pure, of what was noted.
//
// An attempt is held by its lock until it is marked as ended, both in Redis. So whoever repeats its effect does so for one of these:
//
// X1  The death of who had it before, between the effect and the outcome: none is in the log, and another runs the attempt again.
// X2  The death of who told the outcome, before the mark: it is in the log, but whoever asks Redis finds none, and the audit may not
//     have it yet, since a recorder is behind or dead.
// X3  Redis forgot, flushed or away, and with it lock, mark and result; and the request came again, since some runtime or worker died:
//     partitions move, what is below no checkpoint is read again, what is outstanding is dispatched again. Whoever had it may live.
//
// Not among them: another process's death alone. Partitions move then as well, but lock and mark are there. Nor, since nothing here makes
// it so, a worker that stands still past its life in Redis, and a log that does not take the outcome of an attempt that failed.
// An effect that the log did not ask for beforehand is explained by nothing.

type Attempt = { execution: string; action: number; attempt: number }
/** `at`: ms, of this machine's clock, as all times here. */
export type Effect = Attempt & { pid: number; at: number }
/** The outcome that counts, and who told it. */
export type Outcome = Attempt & { pid: number; at: number }
/** When the log asked for the attempt. */
export type Asked = Attempt & { at: number }
/** `roles`: those of the process. */
export type Death = { pid: number; roles: readonly string[]; at: number }
/** In which Redis lost what it held, or did not answer. */
export type Lapse = { from: number; to: number }

export type Happened = {
  /** Those of all guarantees; repeats are looked for among `repeatable` ones. */
  effects: readonly (Effect & { repeatable: boolean })[]
  outcomes: readonly Outcome[]
  asked: readonly Asked[]
  deaths: readonly Death[]
  lapses: readonly Lapse[]
}

/**
 * What is on its way at a death or a lapse, ms: a statement that was sent and is carried out after it, an outcome that is acknowledged
 * and not marked yet, a lock that is taken and whose effect comes in a moment.
 */
const ON_ITS_WAY = 1000
/** X3. A death is felt for so long, ms: its session ends, partitions move, it comes back, they move again. */
const FELT = 30_000
/** X3. Whose death has requests come again: who makes them, and who reads them. */
const REQUESTS: ReadonlySet<string> = new Set(['runtime', 'worker'])

const nameOf = ({ execution, action, attempt }: Attempt) => `attempt ${attempt} of action ${action} of ${execution}`

function grouped<T extends Attempt>(all: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const one of all) {
    const name = nameOf(one)
    const group = groups.get(name)
    if (group) group.push(one)
    else groups.set(name, [one])
  }
  return groups
}

/** Why `next` need not have been, after `before`; undefined: X1, X2 or X3 explains it. */
function unexplained(before: Effect, next: Effect, outcome: Outcome | undefined, { deaths, lapses }: Happened): string | undefined {
  const forgot = lapses.some(({ from, to }) => from <= next.at && to >= before.at - ON_ITS_WAY)
  const moved = deaths.some(({ roles, at }) => roles.some((role) => REQUESTS.has(role)) && at <= next.at && at >= before.at - FELT)
  // X3
  if (forgot && moved) return undefined
  const deathOf = (pid: number) => deaths.find((death) => death.pid === pid && death.at <= next.at)
  const death = deathOf(before.pid)
  if (!death) return `who had it before (pid ${before.pid}) lived`
  if (death.at < before.at - ON_ITS_WAY) return `who had it before (pid ${before.pid}) was dead by then`
  if (!outcome || outcome.at > next.at) return undefined
  // X2
  const told = deathOf(outcome.pid)
  if (told && told.at <= outcome.at + ON_ITS_WAY) return undefined
  return `its outcome was in the log for ${Math.round(next.at - outcome.at)} ms, and who told it (pid ${outcome.pid}) lived on`
}

/** An action and the key of its result: that given by the author, or its own id. */
export type Keyed = { execution: string; action: number; key: string }

/** Every action that completed with no effect, neither its own nor one under its key, whose result it then has. */
export function lackingFaults(completed: readonly Keyed[], effects: readonly Keyed[]): string[] {
  const nameOf = ({ execution, key }: Keyed) => `${execution} ${key}`
  const had = new Set(effects.map(nameOf))
  const lacking = completed.filter((one) => !had.has(nameOf(one)))
  return lacking.map(({ execution, action }) => `action ${action} of ${execution} completed without an effect`)
}

/** Every effect that nothing explains. */
export function effectFaults(happened: Happened): string[] {
  const faults: string[] = []
  const asked = grouped(happened.asked)
  const outcomes = grouped(happened.outcomes)
  for (const [name, all] of grouped(happened.effects)) {
    const ask = asked.get(name)?.[0]
    const effects = all.toSorted((one, other) => one.at - other.at)
    for (const [i, effect] of effects.entries()) {
      if (!ask) faults.push(`${name} had an effect, and is not in the log`)
      else if (effect.at < ask.at) faults.push(`${name} had an effect ${ask.at - effect.at} ms before the log asked for it`)
      const before = effects[i - 1]
      if (!before || !effect.repeatable) continue
      const fault = unexplained(before, effect, outcomes.get(name)?.[0], happened)
      if (fault !== undefined) faults.push(`${name} had effect ${i + 1} of ${effects.length}: ${fault}`)
    }
  }
  return faults
}
