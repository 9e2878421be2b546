-- States as an event's sender wrote them, where the fold computed others (decision 0019): NULL = the same as from_state, to_state.
-- Of rows that are older than these columns nobody knows: they count as the same.
ALTER TABLE refold.workflow_events ADD COLUMN sent_from_state text, ADD COLUMN sent_to_state text;
