// Ids of executions and events. Part of the format: test vectors in test/workflow/ids.test.ts.
//
// Ids of ours are UUID version 8 over the SHA-256 of a JSON-encoded array; names for outsiders' ids are uuid5 of a
// JSON-encoded array in NAMESPACE. JSON keeps ("a","bc") and ("ab","c") apart.

import { hash, randomFillSync } from 'node:crypto'
import { v5 } from 'uuid'
import { V7Generator } from 'uuidv7'

/** The published namespace of our name-based ids: uuid5 of `https://refold.dev/ids` in the URL namespace. */
export const NAMESPACE = v5('https://refold.dev/ids', v5.URL)

type Part = string | number

/** An id of ours: SHA-256 of the JSON-encoded array, cut to 128 bits, version 8. */
function derived(parts: readonly Part[]): string {
  const hex = hash('sha256', JSON.stringify(parts), 'hex')
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** Id of the `workflow.started` of an execution. */
export const startIdOf = (tenant: string, executionId: string) => derived(['start', tenant, executionId])
/** Id of the outcome of one attempt (1, 2, 3 …) of the action scheduled by decision n. */
export const outcomeIdOf = (tenant: string, executionId: string, action: number, attempt: number) =>
  derived(['outcome', tenant, executionId, action, attempt])
/** Id of the `timer.fired` of the timer started by decision n. */
export const firedIdOf = (tenant: string, executionId: string, timer: number) => derived(['fired', tenant, executionId, timer])
/** Id of decision n of an execution. */
export const decisionIdOf = (tenant: string, executionId: string, n: number) => derived(['decision', tenant, executionId, n])

/** True for the version that ids of ours carry: no outsider's event may have such an id. */
export const isOwnId = (id: string) => id.charAt(14) === '8'

/** Id of the execution with this business key: the same three words, the same execution. */
export const executionIdOf = (tenant: string, workflow: string, key: string) =>
  v5(JSON.stringify(['execution', tenant, workflow, key]), NAMESPACE)

/** Id of an execution without a business key that was started under an idempotency key. */
export const executionIdOfRequest = (tenant: string, workflow: string, idempotencyKey: string) =>
  v5(JSON.stringify(['execution-of-request', tenant, workflow, idempotencyKey]), NAMESPACE)

/** Id of an event sent under an idempotency key; `index` is its place in the request (0, 1, 2 …). */
export const eventIdOf = (tenant: string, executionId: string, idempotencyKey: string, index: number) =>
  v5(JSON.stringify(['event', tenant, executionId, idempotencyKey, index]), NAMESPACE)

/** Random numbers fetched many at a time: fetched one by one they cost more than the rest of an id. */
const RANDOM = new Uint32Array(1024)
let unused = 0

const generator = new V7Generator({
  nextUint32() {
    if (unused === 0) unused = randomFillSync(RANDOM).length
    return RANDOM[--unused]!
  },
})

/** A new id, in order of time (UUID version 7). */
export const newId = (): string => generator.generate().toString()

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** True for a UUID in lower case, of any version: the only form the log takes. */
export const isUuid = (text: string) => UUID.test(text)
