#!/usr/bin/env bash
# The events topic, as an administrator makes it. Needs Kafka's tools on PATH and KAFKA_BROKERS.
set -euo pipefail

# region topic
kafka-topics.sh --bootstrap-server "$KAFKA_BROKERS" --create --topic refold.events \
  --partitions 12 --replication-factor 3 \
  --config cleanup.policy=delete --config retention.ms=-1 --config retention.bytes=-1 \
  --config message.timestamp.type=LogAppendTime --config compression.type=uncompressed \
  --config min.insync.replicas=2
# endregion
