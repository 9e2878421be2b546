-- What workers keep of attempts, for the two stronger guarantees (design 6).

-- at-most-once: who runs an attempt. One whose worker vanished expires by this database's clock, and is never run again.
CREATE TABLE refold.action_claims (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  action integer NOT NULL,
  attempt integer NOT NULL,
  worker text NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, execution_id, action, attempt)
);

-- at-most-once and exactly-once: the outcome of an attempt, failures included, before it is appended to the log. The first
-- wins. An exactly-once action writes it in its own transaction.
CREATE TABLE refold.action_outcomes (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  action integer NOT NULL,
  attempt integer NOT NULL,
  outcome text NOT NULL,
  worker text NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, execution_id, action, attempt)
);
COMMENT ON COLUMN refold.action_outcomes.outcome IS 'JSON text: {"result": …} or {"error": …}';

-- What a long action said of its progress, for the next attempt and for a diagnosis.
CREATE TABLE refold.action_progress (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  action integer NOT NULL,
  attempt integer NOT NULL,
  progress text,
  told_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, execution_id, action)
);

GRANT SELECT, INSERT, UPDATE ON refold.action_claims, refold.action_progress TO refold_engine;
GRANT SELECT, INSERT ON refold.action_outcomes TO refold_engine;
GRANT SELECT ON refold.action_progress TO refold_api;
ALTER TABLE refold.action_progress ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.action_progress USING (tenant = current_setting('refold.tenant', true));
