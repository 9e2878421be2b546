// What the codec says of a record's bytes. Types only: every folder may import them.

import type { ActionRequest, WorkflowEvent } from './generated.ts'

/** Why a record is quarantined; stored with its verdict. docs/verdicts.md explains each. */
export type QuarantineReason =
  | 'undecodable' // not Confluent-framed Avro of the schema it names, or bytes left over
  | 'schema-unknown' // the registry has no schema under its id
  | 'schema-unreadable' // its schema can't be read as a WorkflowEvent
  | 'too-large' // a size limit
  | 'too-deep' // payload nested deeper than the limit
  | 'not-storable' // NUL, half a surrogate pair, a control character in a name
  | 'bad-id' // an id that is not a lower-case UUID
  | 'bad-date' // created_at outside years 1 to 9999
  | 'bad-payload' // payload is not JSON
  | 'bad-decision' // decision or decision_chain malformed
  | 'bad-name' // event_name or tenant empty or malformed
  | 'transactional' // written inside a Kafka transaction
  | 'wrong-key' // record key is not execution_id
  | 'wrong-partition' // partition is not murmur2 of the key
  | 'reserved-id' // an id of ours on an outsider's event, or an event of ours without its derived id
  | 'reserved-name' // workflow. action. timer. wait. with a name that isn't one of ours, or in the wrong role

type Unreadable = { state: 'unreadable'; reason: QuarantineReason; detail: string }
/** The writer schema isn't loaded yet: get its text (`schemas` table, or, in the recorder, the registry), then decode again. */
type SchemaNeeded = { state: 'schema-needed'; schemaId: number }

export type Decoded = { state: 'event'; event: WorkflowEvent } | Unreadable | SchemaNeeded

export type DecodedRequest = { state: 'request'; request: ActionRequest } | Unreadable | SchemaNeeded
