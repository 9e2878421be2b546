import { sql } from 'slonik'

/** A timestamptz column as ISO 8601 in UTC with milliseconds, under its own name. */
export const timeText = (column: string) =>
  sql.fragment`to_char(${sql.identifier([column])} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS ${sql.identifier([column])}`
