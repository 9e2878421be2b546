"""Sends events straight into the log, as an upstream system in Python would.

usage: produce.py <brokers> <registry URL> <topic> [<partitioner>] < events.jsonl

Needs confluent-kafka and fastavro. Each line is one event as JSON, created_at in ISO 8601; prints where each one is.
"""

import io
import json
import struct
import sys
import urllib.request
from datetime import datetime

import fastavro
from confluent_kafka import Producer

brokers, registry, topic = sys.argv[1:4]
settings = {"bootstrap.servers": brokers, "acks": "all"}
# librdkafka's own partitioner is not Kafka's: without murmur2_random records land on partitions where nobody accepts them.
if len(sys.argv) > 4:
    settings["partitioner"] = sys.argv[4]

with urllib.request.urlopen(f"{registry}/subjects/{topic}-value/versions/latest") as answer:
    latest = json.load(answer)
schema = fastavro.parse_schema(json.loads(latest["schema"]))
header = struct.pack(">bI", 0, latest["id"])

producer = Producer(settings)
failed = []


def encode(event):
    event["created_at"] = datetime.fromisoformat(event["created_at"])
    out = io.BytesIO()
    out.write(header)
    fastavro.schemaless_writer(out, schema, event)
    return out.getvalue()


def delivered(event_id):
    def told(error, message):
        if error is not None:
            failed.append(f"{event_id}: {error}")
        else:
            print(json.dumps({"event_id": event_id, "partition": message.partition(), "offset": message.offset()}))

    return told


for line in sys.stdin:
    event = json.loads(line)
    producer.produce(topic, key=event["execution_id"], value=encode(event), on_delivery=delivered(event["event_id"]))

producer.flush(30)
if failed or len(producer) > 0:
    sys.exit("\n".join(failed) or "not delivered within 30 s")
