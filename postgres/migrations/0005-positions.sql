-- Checkpoints are positions of the whole log and no tenant's own. The API's role reads them while it acts for somebody;
-- without a tenant set it sees no row of anything. Not forced: the tables' owner looks after them (refold doctor).

ALTER TABLE refold.checkpoints ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_tenant ON refold.checkpoints USING (current_setting('refold.tenant', true) <> '');
