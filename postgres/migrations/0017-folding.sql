-- Which generations of projections a process folds: one that nobody folds stands still, and a person is told.
ALTER TABLE refold.processes ADD COLUMN generations text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN refold.processes.generations IS 'as their checkpoints name them: projection@g<n>';
