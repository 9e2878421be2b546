"""Events straight into the log, with confluent-kafka and fastavro. Needs KAFKA_BROKERS, SCHEMA_REGISTRY_URL and TOPIC."""

# region setup
import io
import json
import os
import struct
import urllib.request
import uuid
from datetime import datetime, timezone

import fastavro
from confluent_kafka import Producer

topic = os.environ.get("TOPIC", "refold.events")
brokers = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
registry = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")

# The schema that Refold registered when it made the topic.
with urllib.request.urlopen(f"{registry}/subjects/{topic}-value/versions/latest") as answer:
    latest = json.load(answer)
schema = fastavro.parse_schema(json.loads(latest["schema"]))
# endregion

# region event
# The execution of a business key has the same id whoever computes it; Refold's API computes it so as well.
NAMESPACE = uuid.UUID("7d48d971-6f46-5f2d-8be2-d36e6676a0df")
name = json.dumps(["execution", "demo", "order", "3000"], separators=(",", ":"), ensure_ascii=False)

event = {
    "event_id": str(uuid.uuid4()),  # keep it for every retry of this event
    "tenant": "demo",
    "execution_id": str(uuid.uuid5(NAMESPACE, name)),
    "event_name": "order.placed",
    "to_state": "placed",
    "payload": '{"amount":12.50,"customer":9007199254740993}',  # JSON as text: no digit is lost
    "created_at": datetime.now(timezone.utc),
    "workflow_name": "order",
    "business_key": "3000",
}
# endregion

# region send
# librdkafka's own partitioner is not Kafka's: without this line Refold quarantines the record.
producer = Producer({"bootstrap.servers": brokers, "acks": "all", "partitioner": "murmur2_random"})

# Confluent framing: a zero, the schema's id, the Avro bytes.
value = io.BytesIO()
value.write(struct.pack(">bI", 0, latest["id"]))
fastavro.schemaless_writer(value, schema, event)

places = []


def delivered(error, message):
    if error is not None:
        raise RuntimeError(f"not delivered: {error}")
    places.append(f"p{message.partition()}:{message.offset()}")


producer.produce(topic, key=event["execution_id"], value=value.getvalue(), on_delivery=delivered)
if producer.flush(30) > 0:
    raise RuntimeError("not delivered within 30 s")
# endregion

print(json.dumps({"execution_id": event["execution_id"], "event_id": event["event_id"], "position": places[0]}))
