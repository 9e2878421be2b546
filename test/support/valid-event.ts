import fc from 'fast-check'
import type { WorkflowEvent } from '../../schemas/generated.ts'
import { checkEvent, LIMITS } from '../../workflow/limits.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
const payload = fc.json({ stringUnit: 'grapheme' })

/** Events with every kind of content that the format's limits allow. */
export const validEvent: fc.Arbitrary<WorkflowEvent> = fc
  .record(
    {
      event_id: fc.uuid(),
      tenant: name,
      execution_id: fc.uuid(),
      event_name: name,
      event_type: text,
      from_state: text,
      to_state: text,
      user_id: fc.option(text),
      payload: fc.option(payload),
      created_at: fc.integer({ min: LIMITS.earliest, max: LIMITS.latest }),
      causation_id: fc.option(text),
      correlation_id: fc.option(text),
      workflow_name: fc.option(name),
      business_key: fc.option(name),
      decision: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: LIMITS.decisions })),
      decision_chain: fc.constant(''),
      decision_seq: fc.constant(0),
      decision_input: fc.constant(''),
    },
    { noNullPrototype: true },
  )
  .filter((candidate) => checkEvent(candidate) === undefined)
