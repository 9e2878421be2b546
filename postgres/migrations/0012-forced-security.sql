-- Row-level security is forced on every table that has tenants, those too that the API's role may not read (yet).

ALTER TABLE refold.action_claims ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.action_claims USING (tenant = current_setting('refold.tenant', true));
ALTER TABLE refold.action_outcomes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON refold.action_outcomes USING (tenant = current_setting('refold.tenant', true));
