-- For a projector that wrote its rows while the recorder's transaction was under way (J9 of consumers/projector.ts): the last thing its
-- statement does. Waits for the locks that such transactions hold, then looks, in a snapshot of its own, whether what was assumed of
-- these offsets holds: recorded, and none refused. Where it does not, or after a while, it raises, and nothing is written.
-- `written`: how many rows were; for a statement whose parts must be done before this is asked.
CREATE FUNCTION refold.await_recorded(locks bigint[], partitions integer[], firsts bigint[], nexts bigint[], written bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET lock_timeout = '100ms'
AS $$
DECLARE
  tries integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(l.lock) FROM unnest(locks) AS l (lock);
  WHILE EXISTS (
    SELECT FROM unnest(partitions, firsts, nexts) AS w (partition, first, next)
    WHERE w.next > coalesce((SELECT next_offset FROM refold.checkpoints WHERE reader = 'recorder' AND partition = w.partition), 0)
      OR EXISTS (SELECT FROM refold.event_verdicts v WHERE v.partition = w.partition AND v.log_offset >= w.first AND v.log_offset < w.next))
  LOOP
    tries := tries + 1;
    IF tries > 20 THEN
      RAISE EXCEPTION 'not recorded, or refused' USING ERRCODE = 'RF001';
    END IF;
    PERFORM pg_sleep(0.001);
  END LOOP;
  RETURN true;
END $$;
REVOKE ALL ON FUNCTION refold.await_recorded(bigint[], integer[], bigint[], bigint[], bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refold.await_recorded(bigint[], integer[], bigint[], bigint[], bigint) TO refold_engine;
