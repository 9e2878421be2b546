# An independent reader of notifications that knows only the contract (docs/notifications.md): redis-py, a group, fields by name.
# argv: url, stream, group, count. Prints a JSON line an entry; ends after `count` distinct positions.

import json
import sys

import redis

url, stream, group, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
client = redis.Redis.from_url(url, decode_responses=True)
try:
    client.xgroup_create(stream, group, id="0", mkstream=True)
except redis.ResponseError as error:
    if not str(error).startswith("BUSYGROUP"):
        raise

positions = set()
last = {}
while len(positions) < count:
    for _, entries in client.xreadgroup(group, "python", {stream: ">"}, count=100, block=1000) or []:
        for entry_id, fields in entries:
            position = fields["position"]
            partition, offset = position[1:].split(":")
            repeat = last.get(partition, -1) >= int(offset)
            if not repeat:
                last[partition] = int(offset)
            positions.add(position)
            print(json.dumps({"repeat": repeat, **fields}))
            client.xack(stream, group, entry_id)
