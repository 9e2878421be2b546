// A reader of notifications that knows only the contract (docs/notifications.md), beside the record that says what it should have been
// told. It lags, and what is flushed before it reads it has not seen; a group that is gone begins at the oldest entry.

import { parsePosition } from '../../../workflow/position.ts'
import type { Audited, MemoryRecord } from './record.ts'
import type { MemoryStream } from './stream.ts'

type Told = Readonly<Record<string, string>>

const toldOf = (fields: readonly string[]): Told =>
  Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] ?? '']] : [])))

const placeOf = (position: string | undefined) => parsePosition(position ?? '') ?? { partition: -1, offset: -1 }

/** What the contract says of it; what it does not name it does not forbid. */
const wantedOf = (event: Audited, previous: Audited | undefined): Told => ({
  event_id: event.event_id,
  execution_id: event.execution_id,
  event_name: event.event_name,
  event_type: event.event_type,
  tenant: event.tenant,
  timestamp: new Date(event.created_at).toISOString(),
  user_id: event.user_id ?? '',
  from_state: event.from_state,
  to_state: event.to_state,
  payload_json: event.payload ?? '{}',
  seq: String(event.seq),
  position: `p${event.partition}:${event.offset}`,
  previous_position: previous ? `p${previous.partition}:${previous.offset}` : '',
})

export class ContractReader {
  readonly faults: string[] = []
  repeats = 0
  /** Times that it missed some, which the stream had no room for. */
  gaps = 0
  readonly #seen = new Set<string>()
  readonly #last = new Map<number, number>()
  readonly #record: MemoryRecord
  readonly #stream: MemoryStream
  readonly #length: number
  #id = 0
  #flushed: number

  constructor(record: MemoryRecord, stream: MemoryStream, length: number) {
    this.#record = record
    this.#stream = stream
    this.#length = length
    this.#flushed = stream.flushed
  }

  /** At the moment at which one is added: what it tells of can be read, and is told rightly. */
  readonly judge = (fields: readonly string[]): void => {
    const told = toldOf(fields)
    const { partition, offset } = placeOf(told['position'])
    const [event] = this.#record.accepted(partition, offset, offset + 1)
    if (!event || (this.#record.recorded.get(partition) ?? 0) <= offset) this.faults.push(`${told['position']} is told, and not recorded`)
    else
      for (const [name, value] of Object.entries(wantedOf(event, this.#record.accepted(partition, 0, offset).at(-1))))
        if (told[name] !== value) this.faults.push(`${told['position']} is told with ${name} ${told[name]}, not ${value}`)
  }

  /** Without those that the stream, so long, needn't have any more. */
  #kept(events: readonly Audited[]): readonly Audited[] {
    if (events.length === 0) return events
    const all = [...this.#record.audit.values()].flatMap((own) => own.map(({ appendedAt }) => appendedAt))
    const old = all.toSorted((a, b) => b - a)[this.#length] ?? -Infinity
    return events.filter((event) => event.appendedAt > old && !this.#stream.trimmed.has(`p${event.partition}:${event.offset}`))
  }

  #read(told: Told): void {
    const { position = '', previous_position: previous = '' } = told
    const { partition, offset } = placeOf(position)
    const before = this.#last.get(partition) ?? -1
    if (offset <= before) {
      this.repeats++
      if (!this.#seen.has(position)) this.faults.push(`${position} came first after p${partition}:${before}`)
      return
    }
    this.#seen.add(position)
    this.#last.set(partition, offset)
    if (placeOf(previous).offset === before) return
    const missed = this.#record.accepted(partition, before + 1, offset)
    this.gaps++
    for (const one of missed) this.#seen.add(`p${partition}:${one.offset}`)
    const lost = this.#kept(missed)
    if (lost.length > 0)
      this.faults.push(`${position} follows ${previous}, but p${partition}:${before} was the last, and ${lost.length} are missing`)
  }

  /** At most so many. */
  readOn(count: number): void {
    if (this.#flushed !== this.#stream.flushed) this.#id = 0
    this.#flushed = this.#stream.flushed
    const page = this.#stream.entries.filter(({ id }) => id > this.#id).slice(0, count)
    this.#id = page.at(-1)?.id ?? this.#id
    for (const { fields } of page) this.#read(toldOf(fields))
  }

  /** What of all that is recorded it was not told, though the stream has room for it. */
  missing(): string[] {
    return [...this.#record.audit.keys()].flatMap((partition) => {
      const own = this.#kept(this.#record.accepted(partition, (this.#last.get(partition) ?? -1) + 1, Infinity))
      return own.length > 0 ? [`${own.length} events are not told, the first is p${partition}:${own[0]?.offset}`] : []
    })
  }
}
