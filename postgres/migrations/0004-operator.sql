-- A record whose tenant could not be read belongs to nobody. Operators see it: `refold.operator` is set by REST for the
-- transaction of a request whose token is an operator's.

DROP POLICY one_tenant ON refold.event_verdicts;
CREATE POLICY one_tenant ON refold.event_verdicts USING (
  tenant = current_setting('refold.tenant', true)
  OR (tenant IS NULL AND current_setting('refold.operator', true) = 'on')
);

-- Not accepted are few; their list is read by tenant, newest first.
CREATE INDEX event_verdicts_tenant ON refold.event_verdicts (tenant, partition, log_offset);
