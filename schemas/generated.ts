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
