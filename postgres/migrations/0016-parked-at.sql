-- Where a generation of a projection is parked: beside its checkpoint, so that whoever may read how far it is sees this too.
ALTER TABLE refold.checkpoints ADD COLUMN parked_at bigint;
COMMENT ON COLUMN refold.checkpoints.parked_at IS 'offset of the event that its code throws at, until it is passed';
