"""Folds the topic by the published rules alone (docs/format.md) and prints every execution as a line of JSON.
fold.py <brokers> <registry URL> <topic>     needs confluent-kafka and fastavro"""

import hashlib
import io
import json
import struct
import sys
import urllib.request
from datetime import datetime

import fastavro
from confluent_kafka import Consumer, TopicPartition

brokers, registry, topic = sys.argv[1:4]
TERMINAL = {"completed", "failed", "cancelled", "terminated"}
ENDING = {"workflow.completed", "workflow.failed", "workflow.cancelled"}
OWN = ("workflow.", "action.", "timer.", "wait.")
schemas = {}


def schema_of(schema_id):
    if schema_id not in schemas:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{schema_id}") as answer:
            schema = json.loads(json.loads(answer.read())["schema"])
        for field in schema["fields"]:  # dates and ids as they are in the bytes
            if isinstance(field["type"], dict):
                field["type"] = field["type"]["type"]
        schemas[schema_id] = fastavro.parse_schema(schema)
    return schemas[schema_id]


DEFAULTS = {"event_type": "workflow", "from_state": "", "to_state": "", "user_id": None, "payload": None, "decision": 0, "decision_chain": "", "decision_seq": 0, "decision_input": "",
            "causation_id": None, "correlation_id": None, "workflow_name": None, "business_key": None}


def decode(value):
    magic, schema_id = struct.unpack(">bI", value[:5])
    if magic != 0:
        raise ValueError("no Confluent framing")
    return {**DEFAULTS, **fastavro.schemaless_reader(io.BytesIO(value[5:]), schema_of(schema_id), None)}


def digest(parts):
    whole = hashlib.sha256()
    for part in parts:
        data = None if part is None else part.encode()
        whole.update(struct.pack(">I", 0xFFFFFFFF if data is None else len(data)) + (data or b""))
    return whole.hexdigest()


def content(event):
    payload = event["payload"]
    if event["event_name"] == "action.scheduled" and event["decision"] > 0 and payload is not None:
        known = json.loads(payload)
        payload = json.dumps([known.get(name) for name in ("name", "key", "group", "arguments")], separators=(",", ":"), ensure_ascii=False)
    return digest([event[name] for name in ("tenant", "execution_id", "event_name", "event_type", "from_state", "to_state")] + [payload, str(event["decision"])])


def murmur2(data):
    h, m, mask = 0x9747B28C ^ len(data), 0x5BD1E995, 0xFFFFFFFF
    for i in range(0, len(data) - len(data) % 4, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    rest = data[len(data) - len(data) % 4:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


def blank(event):
    return {"tenant": event["tenant"], "executionId": event["execution_id"], "status": "running", "currentState": "initial", "data": {}, "lastSeq": 0,
            "workflow": None, "version": None, "key": None, "phase": "folded", "decision": 0, "chain": "", "timers": {}, "known": {}, "input": ""}


def accept(one, event, own, appended_at):
    """Rules 2 to 6; a record that breaks rule 1 never comes here."""
    name, n, payload = event["event_name"], event["decision"], json.loads(event["payload"] or "null")
    if event["event_id"] in one["known"] or one["phase"] == "ended":
        return False
    if n == 0 and name == "workflow.started" and one["phase"] == "driven":
        return False
    if n == 0 and name == "timer.fired" and appended_at < one["timers"].get(payload["timer_id"], 0):
        return False
    if n > 0 and (one["phase"] != "driven" or n != one["decision"] + 1 or event["decision_chain"] != one["chain"]
                  or event["decision_seq"] and (event["decision_seq"], event["decision_input"]) != (one["lastSeq"] + 1, one["input"])):
        return False
    one["known"][event["event_id"]], one["input"] = own, one["input"] if n > 0 else own
    one["lastSeq"] += 1
    if n > 0:
        one["decision"], one["chain"] = n, digest([event["decision_chain"], own])
    return True


def apply(one, event):
    name, n, payload = event["event_name"], event["decision"], json.loads(event["payload"] or "null")
    members = {key: value for key, value in payload.items() if key != "__proto__"} if isinstance(payload, dict) else {}
    reserved = name.startswith(OWN)
    one["workflow"], one["key"] = one["workflow"] or event["workflow_name"], one["key"] or event["business_key"]
    if name == "workflow.terminateRequested":
        one.update(status="terminated", phase="ended")
    elif n == 0 and name == "workflow.started":
        one.update(status="running", currentState="initial", data={}, phase="driven", workflow=payload["workflow_name"],
                   version=payload["workflow_version"], key=payload.get("key"))
    elif one["phase"] == "folded":
        if not reserved:
            one["data"].update(members)
            one["currentState"] = event["to_state"] or one["currentState"]
            if event["to_state"] in TERMINAL:
                one.update(status=event["to_state"], phase="ended")
    elif n == 0:
        if name == "action.completed":
            one["data"] = {**one["data"], "$actions": {**one["data"].get("$actions", {}), payload["name"]: payload.get("result")}}
        elif name in ("workflow.pauseRequested", "workflow.resumeRequested", "workflow.cancelRequested"):
            one["status"] = "paused" if name == "workflow.pauseRequested" else "running"
        elif name == "timer.fired":
            one["timers"].pop(payload["timer_id"], None)
    elif name == "workflow.dataUpdated":
        one["data"].update(members)
    elif name == "workflow.stateChanged":
        one["currentState"] = event["to_state"] or one["currentState"]
    elif name == "timer.started":
        one["timers"][n] = round(datetime.fromisoformat(payload["fire_at"].replace("Z", "+00:00")).timestamp() * 1000)
    elif name == "timer.cancelled":
        one["timers"].pop(payload["timer_id"], None)
    elif name in ENDING:
        one.update(status=name.split(".")[1], phase="ended")


consumer = Consumer({"bootstrap.servers": brokers, "group.id": "fold.py", "enable.auto.commit": False, "isolation.level": "read_uncommitted"})
partitions = sorted(consumer.list_topics(topic, 10).topics[topic].partitions)
executions = {}
for partition in partitions:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
    consumer.assign([TopicPartition(topic, partition, low)])
    while consumer.position([TopicPartition(topic, partition)])[0].offset < high and low < high:
        for message in consumer.consume(500, 1.0):
            try:
                event = decode(message.value())
            except (ValueError, EOFError, struct.error):
                continue  # quarantined: it can't be read
            key = (message.key() or b"").decode()
            if key != event["execution_id"] or (murmur2(key.encode()) & 0x7FFFFFFF) % len(partitions) != partition:
                continue  # quarantined: another key, or another partition than its own
            one = executions.setdefault((event["tenant"], event["execution_id"]), blank(event))
            if accept(one, event, content(event), message.timestamp()[1]):
                apply(one, event)
for one in executions.values():
    print(json.dumps({name: one[name] for name in ("tenant", "executionId", "status", "currentState", "data", "lastSeq", "workflow", "version", "key")}))
