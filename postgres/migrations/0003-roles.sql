-- Two roles (design 5). refold_engine: recorder, runtime, projector: every tenant, append-only on record tables.
-- refold_api: REST reads: owns nothing, sees one tenant, and no row while refold.tenant is not set.
--
-- Roles belong to the whole cluster, so another database may be making them at this moment: what is there already is
-- taken as it is. BYPASSRLS needs a superuser (or a role that has it): an administrator may create both beforehand.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'refold_engine') THEN
    CREATE ROLE refold_engine NOLOGIN BYPASSRLS;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- made by another database in between
END $$;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'refold_api') THEN
    CREATE ROLE refold_api NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;
END $$;

-- The role that logs in takes one of the two for its connections. A superuser may do so anyway.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['refold_engine', 'refold_api'] LOOP
    FOR attempt IN 1..20 LOOP
      EXIT WHEN pg_has_role(current_user, wanted, 'SET');
      BEGIN
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
      EXCEPTION WHEN unique_violation OR internal_error THEN
        PERFORM pg_sleep(0.05); -- "tuple concurrently updated": another database grants the same
      END;
    END LOOP;
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA refold, refold_derived_g1 TO refold_engine, refold_api;

-- Record tables: written once. execution_heads is the one that moves on.
GRANT SELECT, INSERT ON refold.logs, refold.schemas, refold.workflow_events, refold.event_verdicts TO refold_engine;
GRANT SELECT, INSERT, UPDATE ON refold.execution_heads TO refold_engine;
GRANT SELECT, INSERT, UPDATE ON refold.checkpoints TO refold_engine;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON refold_derived_g1.workflow_executions TO refold_engine;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON refold_derived_g1.workflow_snapshots TO refold_engine;
GRANT SELECT ON refold.workflow_executions, refold.workflow_snapshots TO refold_engine;

GRANT SELECT ON refold.workflow_events, refold.event_verdicts, refold.checkpoints TO refold_api;
GRANT SELECT ON refold_derived_g1.workflow_executions, refold.workflow_executions TO refold_api;
GRANT SELECT ON refold_derived_g1.workflow_snapshots, refold.workflow_snapshots TO refold_api;

-- current_setting(…, true) is null where it was never set and '' after a transaction that set it; no tenant is ''.
-- Forced, so that the tables' owner is held too; refold_engine goes past it by BYPASSRLS.
ALTER TABLE refold.workflow_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.workflow_events USING (tenant = current_setting('refold.tenant', true));

ALTER TABLE refold.event_verdicts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.event_verdicts USING (tenant = current_setting('refold.tenant', true));

ALTER TABLE refold.execution_heads ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.execution_heads USING (tenant = current_setting('refold.tenant', true));

ALTER TABLE refold_derived_g1.workflow_executions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold_derived_g1.workflow_executions USING (tenant = current_setting('refold.tenant', true));

ALTER TABLE refold_derived_g1.workflow_snapshots ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold_derived_g1.workflow_snapshots USING (tenant = current_setting('refold.tenant', true));
