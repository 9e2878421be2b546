// Times of a file → milliseconds since 1970 UTC.

import type { TimeSource } from './map.ts'

const ISO = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:[.,](\d+))?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?$/

export type Time = { ms: number } | { fault: string }

/** Offset as the date parser takes it: +02, +0200 and +02:00 are the same. */
function offsetOf(zone: string): string {
  if (/^z$/i.test(zone)) return 'Z'
  const digits = zone.slice(1).replace(':', '').padEnd(4, '0')
  return `${zone.charAt(0)}${digits.slice(0, 2)}:${digits.slice(2)}`
}

/** A day such as 30 February is refused: the date parser would roll it into March. */
function isDay(year: string, month: string, day: string): boolean {
  const date = new Date(`${year}-${month}-${day}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.getUTCDate() === Number(day)
}

function isoTime(text: string, zone: string | undefined): Time {
  const match = ISO.exec(text)
  if (!match) return { fault: `"${text}" is not a time like 2011-10-11 13:45:40.276+02:00` }
  const [, year, month, day, clock = '00:00', seconds = ':00', fraction = '', given] = match
  if (!isDay(year!, month!, day!)) return { fault: `"${text}" is not a day of the calendar` }
  const offset = given ?? zone
  if (offset === undefined) return { fault: `"${text}" names no zone; give created_at a "zone" in the map` }
  // Finer than a millisecond is cut, not rounded: the event model holds milliseconds.
  const ms = Date.parse(`${year}-${month}-${day}T${clock}${seconds}.${fraction.slice(0, 3).padEnd(3, '0')}${offsetOf(offset)}`)
  return Number.isNaN(ms) ? { fault: `"${text}" is not a time of the day` } : { ms }
}

function epochTime(text: string, unit: number): Time {
  if (!/^-?\d+(\.\d+)?$/.test(text)) return { fault: `"${text}" is not a number` }
  return { ms: Math.floor(Number(text) * unit) }
}

export function readTime(text: string, { format, zone }: TimeSource): Time {
  switch (format) {
    case 'iso':
      return isoTime(text, zone)
    case 'epoch-ms':
      return epochTime(text, 1)
    case 'epoch-s':
      return epochTime(text, 1000)
    default:
      return format satisfies never
  }
}
