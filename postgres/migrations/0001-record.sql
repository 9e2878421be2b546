-- Record tables: written once, by the recorder, never dropped or rebuilt. They are part of the format (design 3 and 5).
-- The service's role may not UPDATE or DELETE them; execution_heads excepted.

CREATE SCHEMA refold;

-- Which log this database is folded from. Another partition count is refused at start-up (log-replaced).
CREATE TABLE refold.logs (
  topic text PRIMARY KEY,
  partitions integer NOT NULL CHECK (partitions > 0),
  pinned_at timestamptz NOT NULL DEFAULT now()
);

-- Each writer schema's text by its registry id, stored before the first verdict that needed it; the first one wins.
CREATE TABLE refold.schemas (
  id integer PRIMARY KEY,
  text text NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now()
);

-- The audit: one row an accepted event. from_state and to_state are as the fold computed them.
CREATE TABLE refold.workflow_events (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  seq bigint NOT NULL CHECK (seq > 0),
  event_id uuid NOT NULL,
  event_name text NOT NULL,
  event_type text NOT NULL,
  from_state text NOT NULL,
  to_state text NOT NULL,
  user_id text,
  payload text,
  created_at timestamptz NOT NULL,
  causation_id text,
  correlation_id text,
  workflow_name text,
  business_key text,
  decision integer NOT NULL,
  content bytea NOT NULL,
  partition integer NOT NULL,
  log_offset bigint NOT NULL,
  appended_at timestamptz NOT NULL,
  PRIMARY KEY (tenant, execution_id, seq),
  CONSTRAINT workflow_events_event_id UNIQUE (tenant, execution_id, event_id),
  CONSTRAINT workflow_events_position UNIQUE (partition, log_offset)
);

-- Every other verdict: one row a record that was not accepted. What is known of a record depends on how far it could be
-- read. `record_key` and `record_value` are kept where a redrive may need them (quarantined, conflict, late, early).
CREATE TABLE refold.event_verdicts (
  partition integer NOT NULL,
  log_offset bigint NOT NULL,
  verdict text NOT NULL CHECK (verdict IN ('duplicate', 'conflict', 'late', 'early', 'quarantined')),
  reason text NOT NULL,
  detail text NOT NULL,
  tenant text,
  execution_id text,
  event_id text,
  event_name text,
  record_key bytea,
  record_value bytea,
  appended_at timestamptz NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (partition, log_offset)
);
CREATE INDEX event_verdicts_event ON refold.event_verdicts (tenant, execution_id, event_id);

-- What `accept` must know of an execution before its next record; the one record table that is updated.
CREATE TABLE refold.execution_heads (
  tenant text NOT NULL,
  execution_id uuid NOT NULL,
  partition integer NOT NULL,
  seq bigint NOT NULL,
  phase text NOT NULL CHECK (phase IN ('folded', 'driven', 'ended')),
  decision integer NOT NULL,
  next_chain text NOT NULL,
  open_timers json NOT NULL,
  PRIMARY KEY (tenant, execution_id)
) WITH (fillfactor = 80);

-- Where each reader goes next. `last_offset` and `last_digest` (SHA-256 of key and value) name the newest record below
-- next_offset that was read, so that another log under the same address is noticed.
CREATE TABLE refold.checkpoints (
  reader text NOT NULL,
  partition integer NOT NULL,
  next_offset bigint NOT NULL CHECK (next_offset >= 0),
  last_offset bigint,
  last_digest bytea,
  moved_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (reader, partition)
) WITH (fillfactor = 50);
