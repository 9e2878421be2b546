// Lengths of time as authors write them: milliseconds, or `30 s`, `5 min`, `3 days`.

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  second: 1000,
  seconds: 1000,
  min: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  days: 86_400_000,
}

/** Milliseconds, or a number and a unit: ms, s, min, h, days. */
export type Duration = number | string

/** Milliseconds, whole. Throws TypeError for what is no length of time. */
export function milliseconds(duration: Duration): number {
  const [, amount, unit = ''] = typeof duration === 'string' ? (/^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/.exec(duration) ?? []) : []
  const length = typeof duration === 'number' ? duration : Number(amount) * (UNITS[unit] ?? Number.NaN)
  if (Number.isFinite(length) && length >= 0) return Math.round(length)
  throw new TypeError(`${JSON.stringify(duration)} is no length of time: give milliseconds, or text like '30 s', '5 min', '3 days'`)
}
