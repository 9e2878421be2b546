-- Projections (design 7). A generation is one build of a projection: a schema of its own, its own checkpoints
-- (reader `<name>@g<n>`), its own consumer group. People read the views of schema `projections`, which show the live one.

CREATE SCHEMA projections;

CREATE TABLE refold.projections (
  name text PRIMARY KEY,
  -- Of the newest code that was seen.
  version integer NOT NULL,
  live_generation integer,
  previous_generation integer,
  stopped_at timestamptz,
  changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE refold.generations (
  projection text NOT NULL REFERENCES refold.projections,
  generation integer NOT NULL,
  version integer NOT NULL,
  definition text NOT NULL,
  schema_name text NOT NULL,
  state text NOT NULL CHECK (state IN ('building', 'live', 'following', 'retired')),
  made_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (projection, generation)
);
COMMENT ON COLUMN refold.generations.definition IS 'tables, columns and keys as JSON: other ones under the same version are refused';

CREATE TABLE refold.operations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  projection text NOT NULL REFERENCES refold.projections,
  kind text NOT NULL CHECK (kind IN ('rebuild', 'reset', 'rollback')),
  generation integer,
  state text NOT NULL CHECK (state IN ('requested', 'building', 'comparing', 'ready', 'promoting', 'done', 'aborted', 'failed')),
  reason text NOT NULL,
  progress json NOT NULL DEFAULT '{}',
  comparison json,
  log json NOT NULL DEFAULT '[]',
  wanted text CHECK (wanted IN ('promote', 'abort')),
  requested_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz
);
COMMENT ON COLUMN refold.operations.wanted IS 'what a person asked of it meanwhile';
-- One open operation a projection.
CREATE UNIQUE INDEX operations_open ON refold.operations (projection) WHERE ended_at IS NULL;
CREATE INDEX operations_newest ON refold.operations (requested_at);

-- A hold: the reader does not pass stop_at before stop_until, so a dead operation holds nobody.
ALTER TABLE refold.checkpoints ADD COLUMN stop_at bigint, ADD COLUMN stop_until timestamptz;

-- A position that a person let a projection pass.
CREATE TABLE refold.projection_skips (
  projection text NOT NULL REFERENCES refold.projections,
  generation integer NOT NULL,
  partition integer NOT NULL,
  log_offset bigint NOT NULL,
  reason text NOT NULL,
  skipped_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (projection, generation, partition, log_offset)
);

-- The role of downstream services that read in SQL: all projections, every tenant, nothing else.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'refold_reader') THEN
    CREATE ROLE refold_reader NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- made by another database in between
END $$;

GRANT USAGE ON SCHEMA projections TO refold_reader, refold_api, refold_engine;
GRANT USAGE ON SCHEMA refold TO refold_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON refold.projections, refold.generations, refold.operations, refold.projection_skips TO refold_engine;
GRANT DELETE ON refold.checkpoints TO refold_engine;
GRANT SELECT ON refold.projections, refold.generations, refold.operations, refold.projection_skips TO refold_api;

-- Projections span tenants, so do their operations: whoever acts for a tenant may see them, nobody else.
ALTER TABLE refold.projections ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_tenant ON refold.projections USING (current_setting('refold.tenant', true) <> '');
ALTER TABLE refold.generations ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_tenant ON refold.generations USING (current_setting('refold.tenant', true) <> '');
ALTER TABLE refold.operations ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_tenant ON refold.operations USING (current_setting('refold.tenant', true) <> '');

-- How far a projection's live generation is: for each partition the next offset. SECURITY DEFINER: readers in SQL may call
-- it without seeing anything else.
CREATE FUNCTION refold.watermark(projection text) RETURNS TABLE (partition integer, next_offset bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
  SELECT c.partition, c.next_offset FROM refold.projections p
  JOIN refold.checkpoints c ON c.reader = p.name || '@g' || p.live_generation
  WHERE p.name = watermark.projection ORDER BY c.partition
$$;
REVOKE ALL ON FUNCTION refold.watermark(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refold.watermark(text) TO refold_reader, refold_api, refold_engine;
