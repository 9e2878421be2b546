-- Who may do what only one process does at a time, by this database's clock.
CREATE TABLE refold.leases (
  name text PRIMARY KEY,
  owner text NOT NULL,
  expires_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON refold.leases TO refold_engine;
