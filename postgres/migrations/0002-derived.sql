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
  PRIMARY KEY (tenant, execution_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN refold_derived_g1.workflow_executions.opened_at IS 'append time of its first accepted event';
COMMENT ON COLUMN refold_derived_g1.workflow_executions.changed_at IS 'append time of its newest accepted event';
CREATE INDEX workflow_executions_opened ON refold_derived_g1.workflow_executions (tenant, opened_at, execution_id);
CREATE INDEX workflow_executions_state ON refold_derived_g1.workflow_executions (tenant, current_state, opened_at, execution_id);
CREATE INDEX workflow_executions_key ON refold_derived_g1.workflow_executions (tenant, business_key) WHERE business_key IS NOT NULL;
CREATE INDEX workflow_executions_correlation ON refold_derived_g1.workflow_executions (tenant, correlation_id) WHERE correlation_id IS NOT NULL;

CREATE VIEW refold.workflow_executions WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_executions;
