-- Incidents: what needs a person, with its cause. Open until whoever opened it finds it mended; kept afterwards.
-- `subject` names what is stuck (an execution, a partition, a projection): one open incident of a kind for each.

CREATE TABLE refold.incidents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  kind text NOT NULL,
  subject text NOT NULL,
  tenant text,
  execution_id uuid,
  partition integer,
  summary text NOT NULL,
  evidence json NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz
);
COMMENT ON COLUMN refold.incidents.evidence IS 'what the summary rests on: of a diverged execution step, expected and got';
CREATE UNIQUE INDEX incidents_open ON refold.incidents (kind, subject) WHERE closed_at IS NULL;
CREATE INDEX incidents_execution ON refold.incidents (tenant, execution_id);
CREATE INDEX incidents_partition ON refold.incidents (partition) WHERE closed_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON refold.incidents TO refold_engine;
GRANT SELECT ON refold.incidents TO refold_api;
ALTER TABLE refold.incidents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.incidents USING (
  tenant = current_setting('refold.tenant', true)
  OR (tenant IS NULL AND current_setting('refold.operator', true) = 'on')
);

-- Which processes run, what they drive and run: told every few seconds; one that is not told of any more is gone.
CREATE TABLE refold.processes (
  id text PRIMARY KEY,
  role text NOT NULL,
  deployment text,
  workflows text[] NOT NULL DEFAULT '{}',
  actions text[] NOT NULL DEFAULT '{}',
  queues text[] NOT NULL DEFAULT '{}',
  partitions integer[] NOT NULL DEFAULT '{}',
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN refold.processes.workflows IS 'name and version, with a line feed between them';
GRANT SELECT, INSERT, UPDATE, DELETE ON refold.processes TO refold_engine;
GRANT SELECT ON refold.processes TO refold_api;
ALTER TABLE refold.processes ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_tenant ON refold.processes USING (current_setting('refold.tenant', true) <> '');

-- A diagnosis needs to know whether an execution is behind the recorder.
GRANT SELECT ON refold.execution_heads TO refold_api;
-- Timers are armed from here on assignment.
CREATE INDEX execution_heads_timers ON refold.execution_heads (partition) WHERE open_timers::text <> '{}';
