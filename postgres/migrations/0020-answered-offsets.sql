-- Offsets that a person committed with Kafka's own tool and that were answered, by an operation or an incident, while they may still
-- stand in the group: found there again they are the same request. Gone from here once they are gone from the group.
CREATE TABLE refold.answered_offsets (
  group_name text NOT NULL,
  partition integer NOT NULL,
  log_offset bigint NOT NULL,
  answered_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (group_name, partition)
);
