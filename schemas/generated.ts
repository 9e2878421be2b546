// Generated from schemas/*.avsc by schemas/generate.ts. Do not edit; run `npm run refold -- dev generate`.

/** One fact about one workflow execution: one record of the log. The Kafka key is execution_id. */
export type WorkflowEvent = {
  event_id: string
  tenant: string
  execution_id: string
  event_name: string
  event_type: string
  from_state: string
  to_state: string
  user_id: string | null
  payload: string | null
  created_at: number
  causation_id: string | null
  correlation_id: string | null
  workflow_name: string | null
  business_key: string | null
  decision: number
  decision_chain: string
  decision_seq: number
  decision_input: string
}

/** One attempt of one action to be run by a worker. The Kafka key is the action id, so parallel actions spread. */
export type ActionRequest = {
  action_id: string
  tenant: string
  execution_id: string
  action: number
  attempt: number
  name: string
  key: string
  scheduled: string
  user_id: string | null
  requested_at: number
}

/** Avro schema of WorkflowEvent, as it is registered: without its docs. */
export const WORKFLOW_EVENT_SCHEMA =
  '{"type":"record","name":"WorkflowEvent","namespace":"refold","fields":[{"name":"event_id","type":{"type":"string","logicalType":"uuid"}},{"name":"tenant","type":"string"},{"name":"execution_id","type":{"type":"string","logicalType":"uuid"}},{"name":"event_name","type":"string"},{"name":"event_type","type":"string","default":"workflow"},{"name":"from_state","type":"string","default":""},{"name":"to_state","type":"string","default":""},{"name":"user_id","type":["null","string"],"default":null},{"name":"payload","type":["null","string"],"default":null},{"name":"created_at","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"causation_id","type":["null","string"],"default":null},{"name":"correlation_id","type":["null","string"],"default":null},{"name":"workflow_name","type":["null","string"],"default":null},{"name":"business_key","type":["null","string"],"default":null},{"name":"decision","type":"int","default":0},{"name":"decision_chain","type":"string","default":""},{"name":"decision_seq","type":"long","default":0},{"name":"decision_input","type":"string","default":""}]}'

/** Avro schema of ActionRequest, as it is registered: without its docs. */
export const ACTION_REQUEST_SCHEMA =
  '{"type":"record","name":"ActionRequest","namespace":"refold","fields":[{"name":"action_id","type":{"type":"string","logicalType":"uuid"}},{"name":"tenant","type":"string"},{"name":"execution_id","type":{"type":"string","logicalType":"uuid"}},{"name":"action","type":"int"},{"name":"attempt","type":"int"},{"name":"name","type":"string"},{"name":"key","type":"string"},{"name":"scheduled","type":"string"},{"name":"user_id","type":["null","string"],"default":null},{"name":"requested_at","type":{"type":"long","logicalType":"timestamp-millis"}}]}'
