// A fold's state kept at a seq, so that replay need not begin at the first event. A snapshot is never believed: its digest
// must fit, else an older one, or none, is used. Deleting or spoiling one changes speed, never an answer.

import { digestOf } from './content.ts'
import { type ExecutionState, FOLD_VERSION } from './execution.ts'
import { isJsonObject, parseJson } from './json.ts'

/** A snapshot is taken each time an execution's seq is a multiple of this. */
export const SNAPSHOT_EVERY = 20
/** Of an execution the newest so many are kept. */
export const SNAPSHOTS_KEPT = 5

export type Snapshot = {
  tenant: string
  executionId: string
  seq: number
  foldVersion: number
  /** The state as JSON text. */
  state: string
  /** SHA-256, hex, over the five fields above. */
  digest: string
}

const digestFor = ({ tenant, executionId, seq, foldVersion, state }: Omit<Snapshot, 'digest'>) =>
  digestOf([tenant, executionId, String(seq), String(foldVersion), state])

export const isSnapshotDue = (seq: number) => seq % SNAPSHOT_EVERY === 0

export function takeSnapshot(state: ExecutionState): Snapshot {
  const { tenant, executionId, seq } = state
  const body = { tenant, executionId, seq, foldVersion: FOLD_VERSION, state: JSON.stringify(state) }
  return { ...body, digest: digestFor(body) }
}

/** Its digest fits: it is what was taken. */
export const isIntact = (snapshot: Snapshot) => snapshot.digest === digestFor(snapshot)

/** The state of a snapshot; undefined when it is of another fold version or was spoiled. */
export function openSnapshot(snapshot: Snapshot): ExecutionState | undefined {
  if (snapshot.foldVersion !== FOLD_VERSION || !isIntact(snapshot)) return undefined
  const state = parseJson(snapshot.state)
  return isJsonObject(state) ? (state as unknown as ExecutionState) : undefined
}
