"""Encodes and decodes records with fastavro: JSON lines in, JSON lines out.

In:  {"schema": <Avro schema>, "schemaId": 7, "event": {...}}  or  {"schema": ..., "hex": "..."}
Out: {"hex": "..."}                                            or  {"schemaId": 7, "event": {...}}

Logical types are taken out of the schemas first, so that dates and ids come back as they are in the bytes.
"""

import io
import json
import struct
import sys

import fastavro


def plain(schema):
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema


def encode(schema, schema_id, event):
    out = io.BytesIO(struct.pack(">bI", 0, schema_id))
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, schema, event)
    return {"hex": out.getvalue().hex()}


def decode(schema, data):
    magic, schema_id = struct.unpack(">bI", data[:5])
    assert magic == 0
    return {"schemaId": schema_id, "event": fastavro.schemaless_reader(io.BytesIO(data[5:]), schema, None)}


for line in sys.stdin:
    asked = json.loads(line)
    schema = fastavro.parse_schema(plain(asked["schema"]))
    answer = decode(schema, bytes.fromhex(asked["hex"])) if "hex" in asked else encode(schema, asked["schemaId"], asked["event"])
    print(json.dumps(answer), flush=True)
