// Makes permit-events.csv.gz: invented events shaped like those of the real permit log (docs in README.md): the same
// columns, as many cases and events, activities that follow one another with the frequencies counted there. The same
// seed gives the same rows.
//
//   node examples/permit-log/generate.ts permits.csv.gz [seed]

import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { createRandom, type Random } from './random.ts'

export const COLUMNS = [
  'case_id',
  'event_id',
  'activity',
  'timestamp',
  'resource',
  'org_group',
  'channel',
  'department',
  'deadline',
] as const

/** With it every one of the 27 activities occurs. */
export const DEFAULT_SEED = 1

/** [events of a case, how many such cases]: 1,434 cases, 8,577 events. */
const LENGTHS: readonly (readonly [number, number])[] = [
  [1, 116],
  [3, 8],
  [4, 12],
  [5, 16],
  [6, 1135],
  [7, 5],
  [8, 34],
  [9, 11],
  [10, 70],
  [11, 1],
  [12, 12],
  [13, 2],
  [14, 3],
  [15, 1],
  [16, 1],
  [18, 5],
  [24, 1],
  [25, 1],
]

/** Above all numbers of the real log: both may be imported into one installation. */
const FIRST_CASE = 100_001
const FIRST_EVENT = 1_000_001

type Activity = { name: string; group: string; next: Readonly<Record<string, number>> }

/** Each activity: who does it mostly, and how often which one follows. */
const ACTIVITIES: Readonly<Record<string, Activity>> = {
  T01: { name: 'Confirmation of receipt', group: 'EMPTY', next: { T02: 1079, T06: 239 } },
  T02: { name: 'T02 Check confirmation of receipt', group: 'Group 4', next: { T04: 1119, T06: 178, T03: 43, T10: 15, 'T07-1': 2 } },
  T03: { name: 'T03 Adjust confirmation of receipt', group: 'Group 1', next: { T02: 51, T06: 2 } },
  T04: { name: 'T04 Determine confirmation of receipt', group: 'Group 3', next: { T05: 1177, T06: 103, T10: 17, T03: 6 } },
  T05: {
    name: 'T05 Print and send confirmation of receipt',
    group: 'Group 2',
    next: { T06: 791, T10: 86, T11: 10, 'T07-5': 3, 'T07-2': 3, T08: 2, T13: 2 },
  },
  T06: {
    name: 'T06 Determine necessity of stop advice',
    group: 'Group 1',
    next: { T10: 1165, T02: 75, T04: 43, 'T07-1': 38, 'T07-5': 21, 'T07-2': 18, T05: 16, T08: 8, 'T07-3': 5, 'T07-4': 3 },
  },
  'T07-1': { name: 'T07-1 Draft intern advice aspect 1', group: 'Group 13', next: { T06: 34, T08: 4, 'T07-4': 2, 'T07-2': 2 } },
  'T07-2': { name: 'T07-2 Draft intern advice aspect 2', group: 'Group 15', next: { T06: 22, T02: 2, T08: 2, 'T07-1': 2, 'T09-1': 1 } },
  'T07-3': { name: 'T07-3 Draft intern advice hold for aspect 3', group: 'Group 14', next: { 'T07-2': 4, T06: 2, 'T07-4': 1 } },
  'T07-4': { name: 'T07-4 Draft internal advice to hold for type 4', group: 'Group 12', next: { T06: 5, 'T07-2': 1 } },
  'T07-5': { name: 'T07-5 Draft intern advice aspect 5', group: 'Group 1', next: { T06: 21, 'T07-1': 2, 'T09-4': 1, 'T09-2': 1, T08: 1 } },
  T08: { name: 'T08 Draft and send request for advice', group: 'Group 1', next: { 'T09-3': 8, 'T09-1': 5, 'T09-4': 3, 'T07-5': 1 } },
  'T09-1': { name: 'T09-1 Process or receive external advice from party 1', group: 'Group 1', next: { T06: 5, 'T07-3': 2 } },
  'T09-2': { name: 'T09-2 Process or receive external advice from party 2', group: 'Group 1', next: { 'T09-4': 1 } },
  'T09-3': { name: 'T09-3 Process or receive external advice from party 3', group: 'Group 1', next: { T06: 4, 'T07-2': 2, 'T09-1': 1 } },
  'T09-4': { name: 'T09-4 Process or receive external advice from party 4', group: 'Group 1', next: { T06: 4, 'T07-2': 1 } },
  T10: { name: 'T10 Determine necessity to stop indication', group: 'Group 1', next: { T02: 155, T04: 141, T05: 102, T11: 34, T16: 19 } },
  T11: { name: 'T11 Create document X request unlicensed', group: 'Group 1', next: { T12: 39, T04: 1 } },
  T12: { name: 'T12 Check document X request unlicensed', group: 'Group 4', next: { T14: 38, T02: 2 } },
  T13: { name: 'T13 Adjust document X request unlicensed', group: 'Group 1', next: { T12: 1 } },
  T14: { name: 'T14 Determine document X request unlicensed', group: 'Group 3', next: { T15: 38, T05: 1 } },
  T15: { name: 'T15 Print document X request unlicensed', group: 'Group 2', next: { T06: 1 } },
  T16: { name: 'T16 Report reasons to hold request', group: 'Group 1', next: { T17: 20 } },
  T17: { name: 'T17 Check report Y to stop indication', group: 'Group 4', next: { T19: 20, T18: 6 } },
  T18: { name: 'T18 Adjust report Y to stop indicition', group: 'Group 1', next: { T17: 6 } },
  T19: { name: 'T19 Determine report Y to stop indication', group: 'Group 3', next: { T20: 20 } },
  T20: { name: 'T20 Print report Y to stop indication', group: 'Group 2', next: { T02: 3, T05: 2 } },
}

const CHANNELS = { Internet: 7478, Desk: 657, Post: 308, 'e-mail': 128, Intern: 6 }
const DEPARTMENTS = { General: 8400, Experts: 95, 'Customer contact': 82 }

const DAY = 86_400_000
const FROM = Date.UTC(2010, 9, 1)
const UNTIL = Date.UTC(2012, 0, 20)

/** Summer time of the Netherlands: from the last Sunday of March to the last of October, 01:00 UTC. */
function offsetHours(ms: number): number {
  const year = new Date(ms).getUTCFullYear()
  const change = (month: number) => {
    const last = Date.UTC(year, month, 31, 1)
    return last - new Date(last).getUTCDay() * DAY
  }
  return ms >= change(2) && ms < change(9) ? 2 : 1
}

/** `2011-10-11 13:45:40.276000+02:00`, as the real log writes it: microseconds, of which three digits are noughts. */
function timestamp(ms: number): string {
  const hours = offsetHours(ms)
  const local = new Date(ms + hours * 3_600_000).toISOString()
  return `${local.slice(0, 10)} ${local.slice(11, 23)}000+0${hours}:00`
}

/** Case lengths in an order of chance; exactly LENGTHS for 1,434 cases, drawn from it for another number. */
function lengthsOf(cases: number | undefined, random: Random): number[] {
  const all = LENGTHS.flatMap(([length, times]) => Array.from({ length: times }, () => length))
  return cases === undefined ? random.shuffled(all) : Array.from({ length: cases }, () => all[random.below(all.length)]!)
}

function activitiesOf(length: number, random: Random): Activity[] {
  const activities = [ACTIVITIES['T01']!]
  while (activities.length < length) activities.push(ACTIVITIES[random.weighted(activities.at(-1)!.next)]!)
  return activities
}

/** Milliseconds to the next event: seconds mostly, days now and then. */
function pause(random: Random): number {
  const typical = random.chance(0.12) ? 2 * DAY : random.chance(0.3) ? 600_000 : 25_000
  return Math.round(typical * Math.exp(random.normal() * 0.9))
}

type Cell = string | number

function* rowsOfCase(caseId: number, firstEvent: number, length: number, random: Random): Generator<Cell[]> {
  const opened = FROM + random.below(UNTIL - FROM)
  const deadline = timestamp(opened + random.between(15, 75) * DAY)
  const [channel, department] = [random.weighted(CHANNELS), random.weighted(DEPARTMENTS)]
  let at = opened
  for (const [i, { name, group }] of activitiesOf(length, random).entries()) {
    const resource = `Resource${String(1 + Math.floor(47 * random.next() ** 3)).padStart(2, '0')}`
    const by = random.chance(0.1) ? 'EMPTY' : group
    yield [`case-${caseId}`, `task-${firstEvent + i}`, name, timestamp(at), resource, by, channel, department, deadline]
    at += pause(random)
  }
}

/** The file's lines, header first, ended as those of the real log are. Rows of a case stand together, in order of time. */
export function* generate(options: { seed?: number; cases?: number } = {}): Generator<string> {
  const random = createRandom(options.seed ?? DEFAULT_SEED)
  yield `${COLUMNS.join(',')}\r\n`
  let event = FIRST_EVENT
  for (const [i, length] of lengthsOf(options.cases, random).entries()) {
    for (const cells of rowsOfCase(FIRST_CASE + i, event, length, random)) yield `${cells.join(',')}\r\n`
    event += length
  }
}

/** Writes the lines to `path`, compressed. */
export async function generateFile(path: string, options: { seed?: number; cases?: number } = {}): Promise<void> {
  await pipeline(Readable.from(generate(options)), createGzip(), createWriteStream(path))
}

if (import.meta.main) {
  const [path = 'permit-events.csv.gz', seed] = process.argv.slice(2)
  await generateFile(path, seed === undefined ? {} : { seed: Number(seed) })
  console.log(`wrote ${path}`)
}
