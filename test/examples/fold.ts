// What Refold must make of a permit log, worked out without any of Refold's code, from the words of the design: in an
// execution without a function an event's to_state moves the state, payload objects merge into data, history is what
// happened in order.

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

type Payload = Readonly<Record<string, string>>

export type ExpectedEvent = {
  seq: number
  event_name: string
  from_state: string
  to_state: string
  user_id: string
  created_at: string
  payload: Payload
}

export type ExpectedCase = { key: string; currentState: string; data: Payload; events: ExpectedEvent[] }

/** Key → what its execution must be, in the order of the file. The file must be plain CSV: no quotes. */
export function foldPermitLog(path: string): Map<string, ExpectedCase> {
  const text = gunzipSync(readFileSync(path)).toString('utf8')
  if (text.includes('"')) throw new Error(`${path} has quotes; this reader knows none`)
  const lines = text.split(/\r?\n/).filter((line) => line !== '')
  const cases = new Map<string, ExpectedCase>()
  for (const line of lines.slice(1)) {
    const [case_id, event_id, activity, timestamp, resource, org_group, channel, department, deadline] = line.split(',') as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ]
    const payload = { event_id, resource, org_group, channel, department, deadline }
    const before = cases.get(case_id) ?? { key: case_id, currentState: 'initial', data: {}, events: [] }
    before.events.push({
      seq: before.events.length + 1,
      event_name: 'permit.activityCompleted',
      from_state: before.currentState,
      to_state: activity,
      user_id: resource,
      created_at: new Date(timestamp).toISOString(),
      payload,
    })
    cases.set(case_id, { ...before, currentState: activity, data: { ...before.data, ...payload } })
  }
  return cases
}
