/** Rows of a fold that their columns don't take, such as a number for a time: the author's mistake, at one of the batch's events. */
export class RowsRefused extends Error {
  constructor(cause: Error) {
    super(`its row does not fit the columns: ${cause.message}`, { cause })
  }
}
