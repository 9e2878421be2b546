// The API as a program without any library of ours would call it: what was answered, problems too.

export type RestAnswer = {
  status: number
  headers: Headers
  text: string
  /** Parsed; numbers beyond a double are lost: look at `text` for them. */
  json: () => unknown
}

export type Outcome = {
  status: string
  event_id: string
  execution_id: string
  position: string
  verdict: string
  seq?: number
  reason?: string
  problem?: { type: string }
}

export type Rest = {
  /** Address of the API. */
  base: string
  get: (path: string, headers?: Readonly<Record<string, string>>) => Promise<RestAnswer>
  /** Posts events to /v1/events, as NDJSON; a text goes as it is. */
  send: (events: readonly (object | string)[], headers?: Readonly<Record<string, string>>) => Promise<RestAnswer>
  post: (path: string, body?: string, headers?: Readonly<Record<string, string>>) => Promise<RestAnswer>
}

export function restOf(url: string, token: string): Rest {
  async function ask(method: string, path: string, headers: Readonly<Record<string, string>>, body?: string): Promise<RestAnswer> {
    const init = { method, headers: { authorization: `Bearer ${token}`, ...headers }, signal: AbortSignal.timeout(90_000) }
    const response = await fetch(new URL(path, url), body === undefined ? init : { ...init, body })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) as unknown }
  }
  const line = (one: object | string) => (typeof one === 'string' ? one : JSON.stringify(one))
  return {
    base: url,
    get: (path, headers = {}) => ask('GET', path, headers),
    post: (path, body, headers = {}) => ask('POST', path, headers, body),
    send: (events, headers = {}) =>
      ask('POST', '/v1/events', { 'content-type': 'application/x-ndjson', ...headers }, events.map(line).join('\n')),
  }
}

/** The outcomes of a POST of events. */
export const outcomesOf = (answer: RestAnswer): Outcome[] => (answer.json() as { outcomes: Outcome[] }).outcomes

/** Runs `work` over all of `items`, so many at a time. */
export async function eachOf<T>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]()
  const worker = async () => {
    for (let next = rest.next(); next.done !== true; next = rest.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}
