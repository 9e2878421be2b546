-- Derived tables, generation 1: folds of the log, rebuildable at any time. A generation is a schema, so that no table
-- name changes; people read the views of schema refold.

CREATE SCHEMA refold_derived_g1;

CREATE TABLE refold_derived_g1.workflow_executions (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  partition integer NOT NULL,
  status text NOT NULL,
  current_state text NOT NULL,
  data json NOT NULL,
  last_seq bigint NOT NULL,
  last_offset bigint NOT NULL,
  workflow_name text,
  workflow_version text,
  business_key text,
  correlation_id text,
  result json,
  error json,
  opened_at timestamptz NOT NULL,
  changed_at timestamptz NOT NULL,
  created_until timestamptz NOT NULL,
  PRIMARY KEY (tenant, execution_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN refold_derived_g1.workflow_executions.opened_at IS 'append time of its first accepted event';
COMMENT ON COLUMN refold_derived_g1.workflow_executions.changed_at IS 'newest append time of its accepted events';
COMMENT ON COLUMN refold_derived_g1.workflow_executions.created_until IS 'newest created_at of its accepted events';
CREATE INDEX workflow_executions_opened ON refold_derived_g1.workflow_executions (tenant, opened_at, execution_id);
CREATE INDEX workflow_executions_state ON refold_derived_g1.workflow_executions (tenant, current_state, opened_at, execution_id);
CREATE INDEX workflow_executions_key ON refold_derived_g1.workflow_executions (tenant, business_key) WHERE business_key IS NOT NULL;
CREATE INDEX workflow_executions_correlation ON refold_derived_g1.workflow_executions (tenant, correlation_id) WHERE correlation_id IS NOT NULL;

-- A fold's state kept at a seq, so that replay need not begin at the first event: every 20 events, the newest 5 kept.
-- Deleting or spoiling one changes speed, never an answer: the digest covers tenant, execution, seq, fold version and state.
CREATE TABLE refold_derived_g1.workflow_snapshots (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  seq bigint NOT NULL,
  partition integer NOT NULL,
  fold_version integer NOT NULL,
  state text NOT NULL,
  digest text NOT NULL,
  recorded_until timestamptz NOT NULL,
  created_until timestamptz NOT NULL,
  PRIMARY KEY (tenant, execution_id, seq)
);
COMMENT ON COLUMN refold_derived_g1.workflow_snapshots.state IS 'the folded state as JSON';
COMMENT ON COLUMN refold_derived_g1.workflow_snapshots.recorded_until IS 'newest append time of the events folded';
COMMENT ON COLUMN refold_derived_g1.workflow_snapshots.created_until IS 'newest created_at of the events folded';

CREATE VIEW refold.workflow_snapshots WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_snapshots;

CREATE VIEW refold.workflow_executions WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_executions;
