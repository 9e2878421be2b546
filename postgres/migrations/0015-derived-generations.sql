-- The recorder's derived tables are generations too (design 5 and 7), of a projection named `derived`: built anew from the
-- audit beside the live ones, compared, promoted, rolled back. Where the live generation is, the recorder is: it writes both in
-- one transaction. The others have checkpoints of their own (reader `derived@g<n>`), moved by whoever follows them.

-- The live generation of the derived tables, on the rows that every transaction of the recorder locks first: a promotion, which
-- locks all of them, is seen by the next transaction whatever snapshot its first statement has (decision 0005).
ALTER TABLE refold.checkpoints ADD COLUMN derived_generation integer;
COMMENT ON COLUMN refold.checkpoints.derived_generation IS 'of the recorder: the generation of derived tables that it writes';
UPDATE refold.checkpoints SET derived_generation = 1 WHERE reader = 'recorder';

INSERT INTO refold.projections (name, version, live_generation) VALUES ('derived', 1, 1);
INSERT INTO refold.generations (projection, generation, version, definition, schema_name, state)
  VALUES ('derived', 1, 1, '{"how":"derived","uses":[],"tables":[]}', 'refold_derived_g1', 'live');

CREATE OR REPLACE FUNCTION refold.watermark(projection text) RETURNS TABLE (partition integer, next_offset bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
  SELECT c.partition, c.next_offset FROM refold.projections p
  JOIN refold.checkpoints c ON c.reader = CASE p.name WHEN 'derived' THEN 'recorder' ELSE p.name || '@g' || p.live_generation END
  WHERE p.name = watermark.projection ORDER BY c.partition
$$;
