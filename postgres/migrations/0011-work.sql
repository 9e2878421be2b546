-- What driven executions have asked for: one row for each action, timer and wait. Derived, like workflow_executions: folds of
-- the audit (workflow/work.ts), written by the recorder in the transaction that accepts the events, made anew where they are
-- missing. `abandoned`: the execution ended before it did.

CREATE TABLE refold_derived_g1.workflow_actions (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  action integer NOT NULL,
  partition integer NOT NULL,
  name text NOT NULL,
  queue text,
  key text,
  guarantee text NOT NULL,
  status text NOT NULL CHECK (status IN ('running', 'backing-off', 'completed', 'failed', 'cancelled', 'abandoned')),
  attempt integer NOT NULL,
  attempts integer NOT NULL,
  worker text,
  last_error json,
  result json,
  scheduled_at timestamptz NOT NULL,
  requested_at timestamptz NOT NULL,
  next_attempt_at timestamptz,
  ended_at timestamptz,
  PRIMARY KEY (tenant, execution_id, action)
);
COMMENT ON COLUMN refold_derived_g1.workflow_actions.action IS 'decision number of its action.scheduled';
COMMENT ON COLUMN refold_derived_g1.workflow_actions.attempt IS 'the newest; attempts: the most its retry policy allows';
CREATE INDEX workflow_actions_open ON refold_derived_g1.workflow_actions (tenant, execution_id) WHERE ended_at IS NULL;

CREATE TABLE refold_derived_g1.workflow_timers (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  timer integer NOT NULL,
  partition integer NOT NULL,
  purpose text NOT NULL,
  action integer,
  fire_at timestamptz NOT NULL,
  status text NOT NULL CHECK (status IN ('open', 'fired', 'cancelled', 'abandoned')),
  started_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant, execution_id, timer)
);
COMMENT ON COLUMN refold_derived_g1.workflow_timers.purpose IS 'sleep, timeout (of the wait one number before), retry (of action)';
CREATE INDEX workflow_timers_open ON refold_derived_g1.workflow_timers (tenant, execution_id) WHERE ended_at IS NULL;

CREATE TABLE refold_derived_g1.workflow_waits (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  wait integer NOT NULL,
  partition integer NOT NULL,
  names json NOT NULL,
  timeout_at timestamptz,
  status text NOT NULL CHECK (status IN ('open', 'satisfied', 'timed-out', 'cancelled', 'abandoned')),
  event_id text,
  event_name text,
  started_at timestamptz NOT NULL,
  ended_at timestamptz,
  PRIMARY KEY (tenant, execution_id, wait)
);
COMMENT ON COLUMN refold_derived_g1.workflow_waits.names IS 'events that it waits for; event_id, event_name: the one that came';
CREATE INDEX workflow_waits_open ON refold_derived_g1.workflow_waits (tenant, execution_id) WHERE ended_at IS NULL;

CREATE VIEW refold.workflow_actions WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_actions;
CREATE VIEW refold.workflow_timers WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_timers;
CREATE VIEW refold.workflow_waits WITH (security_invoker = true) AS SELECT * FROM refold_derived_g1.workflow_waits;

GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE
  ON refold_derived_g1.workflow_actions, refold_derived_g1.workflow_timers, refold_derived_g1.workflow_waits TO refold_engine;
GRANT SELECT ON refold_derived_g1.workflow_actions, refold_derived_g1.workflow_timers, refold_derived_g1.workflow_waits TO refold_api;
GRANT SELECT ON refold.workflow_actions, refold.workflow_timers, refold.workflow_waits TO refold_engine, refold_api;

ALTER TABLE refold_derived_g1.workflow_actions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold_derived_g1.workflow_actions USING (tenant = current_setting('refold.tenant', true));
ALTER TABLE refold_derived_g1.workflow_timers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold_derived_g1.workflow_timers USING (tenant = current_setting('refold.tenant', true));
ALTER TABLE refold_derived_g1.workflow_waits ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold_derived_g1.workflow_waits USING (tenant = current_setting('refold.tenant', true));
