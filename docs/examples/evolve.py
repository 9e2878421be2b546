"""A field of your own in the schema. Needs SCHEMA_REGISTRY_URL and TOPIC."""

import json
import os
import urllib.request

topic = os.environ.get("TOPIC", "refold.events")
registry = os.environ.get("SCHEMA_REGISTRY_URL", "http://127.0.0.1:8081/apis/ccompat/v7")

with urllib.request.urlopen(f"{registry}/subjects/{topic}-value/versions/latest") as answer:
    latest = json.load(answer)

# region evolve
schema = json.loads(latest["schema"])
schema["fields"].append({"name": "channel", "type": ["null", "string"], "default": None})

request = urllib.request.Request(
    f"{registry}/subjects/{topic}-value/versions",
    data=json.dumps({"schema": json.dumps(schema)}).encode(),
    headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
)
with urllib.request.urlopen(request) as answer:
    print(json.dumps({"id": json.load(answer)["id"]}))
# endregion
