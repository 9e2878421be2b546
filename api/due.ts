// What an execution's runtime has to answer, and what of its open work is left beside that: pure.
//
// U1  Due is only what needs a decision: an event that an open wait takes, a timer past its time, a failed attempt, a cancel, and,
//     where nothing is open, the newest event (a function that waits for nothing decides or ends).
// U2  What is due is not open: nobody is told to send an event that is there, or to wait for a time that has passed.

import type { ActionRow, EventPlace, OpenWork, TimerRow, UnansweredRow, WaitRow } from '../postgres/reads/work.ts'

export type Due = {
  what: string
  /** ISO 8601 in UTC: when the event was appended and its wait declared, or when the timer was to fire. */
  since: string
  evidence: Record<string, unknown>
}

/** `due`: the longest first. */
export type Owed = { due: readonly Due[]; actions: readonly ActionRow[]; timers: readonly TimerRow[]; waits: readonly WaitRow[] }

function came(event: EventPlace, whose: string, evidence: object = {}): Due {
  const { event_name: name, event_id: eventId, partition, log_offset: offset, appended_at: since } = event
  const position = `p${partition}:${offset}`
  return { what: `${whose} came at ${position}, ${since}`, since, evidence: { event: name, eventId, position, ...evidence } }
}

/** An event may be there before its wait is. */
function wanted({ wait, started_at: startedAt }: WaitRow, event: UnansweredRow): Due {
  const due = came(event, `${event.event_name}, for which it waits,`, { wait, cameAt: event.appended_at })
  return startedAt > due.since ? { ...due, since: startedAt } : due
}

/** The oldest wait takes the oldest event, as the replay does. */
function taken(waits: readonly WaitRow[], unanswered: readonly UnansweredRow[]): Map<WaitRow, UnansweredRow> {
  const events = unanswered.filter(({ kind }) => kind === 'wanted')
  const pairs = new Map<WaitRow, UnansweredRow>()
  for (const wait of waits) {
    const at = events.findIndex(({ event_name: name }) => wait.names.includes(name))
    const [event] = at < 0 ? [] : events.splice(at, 1)
    if (event) pairs.set(wait, event)
  }
  return pairs
}

const FIRES: Readonly<Record<string, string>> = { sleep: 'its sleep', timeout: 'the timeout of its wait', retry: 'the next attempt' }

const fires = ({ timer, purpose, action, fire_at: since }: TimerRow): Due => ({
  what: `${FIRES[purpose] ?? `timer ${timer}`} was due at ${since}`,
  since,
  evidence: { timer, purpose, ...(action === null ? {} : { action }), fireAt: since },
})

/** `now`: ms since 1970 UTC. */
export function owed({ actions, timers, waits, unanswered, newest }: OpenWork, now: number): Owed {
  const pairs = taken(waits, unanswered)
  const passed = timers.filter(({ fire_at: at }) => Date.parse(at) <= now)
  const due = [
    ...[...pairs].map(([wait, event]) => wanted(wait, event)),
    ...passed.map(fires),
    ...unanswered.filter(({ kind }) => kind === 'failed').map((event) => came(event, 'the failure of an attempt')),
    ...unanswered.filter(({ kind }) => kind === 'cancel').map((event) => came(event, 'the request to cancel it')),
  ]
  if (newest && actions.length + timers.length + waits.length + due.length === 0)
    due.push(came(newest, `its newest event, ${newest.event_name},`))
  const timedOut = new Set(passed.filter(({ purpose }) => purpose === 'timeout').map(({ timer }) => timer - 1))
  const retried = new Set(passed.filter(({ purpose }) => purpose === 'retry').map(({ action }) => action))
  return {
    due: due.toSorted((a, b) => Date.parse(a.since) - Date.parse(b.since)),
    actions: actions.filter((one) => !retried.has(one.action)),
    timers: timers.filter((one) => !passed.includes(one)),
    waits: waits.filter((one) => !pairs.has(one) && !timedOut.has(one.wait)),
  }
}
