-- The content of an execution's newest accepted input: a decision may say that it stands only on it (decision 0015).
ALTER TABLE refold.execution_heads ADD COLUMN last_input bytea;
-- Row-level security is forced, so it hides all rows from an owner who is no superuser; not from this role.
SET LOCAL ROLE refold_engine;
UPDATE refold.execution_heads h SET last_input = coalesce(
  (SELECT e.content FROM refold.workflow_events e
   WHERE e.tenant = h.tenant AND e.execution_id = h.execution_id AND e.decision = 0 ORDER BY e.seq DESC LIMIT 1), '');
RESET ROLE;
ALTER TABLE refold.execution_heads ALTER COLUMN last_input SET NOT NULL;
