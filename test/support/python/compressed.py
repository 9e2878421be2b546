"""Sends one batch, compressed by librdkafka, to a topic's first partition.

usage: compressed.py <brokers> <topic> <none|gzip|snappy|lz4|zstd> < records.jsonl

Each line is {"value": text, "times": how often it is repeated}; prints the offset of each.
"""

import json
import sys

from confluent_kafka import Producer

brokers, topic, codec = sys.argv[1:4]
settings = {"bootstrap.servers": brokers, "acks": "all", "compression.type": codec, "message.max.bytes": 100_000_000}
producer = Producer({**settings, "batch.size": 200_000_000, "linger.ms": 500})
failed = []


def delivered(error, message):
    if error is not None:
        failed.append(str(error))
    else:
        print(json.dumps(message.offset()))


for line in sys.stdin:
    record = json.loads(line)
    producer.produce(topic, key="k", value=record["value"] * record["times"], partition=0, on_delivery=delivered)

producer.flush(30)
if failed or len(producer) > 0:
    sys.exit("\n".join(failed) or "not delivered within 30 s")
