#!/usr/bin/env bash
# Events over REST, with curl. Needs REFOLD_API_URL and REFOLD_API_TOKEN.
set -euo pipefail

# region events
curl -sS "$REFOLD_API_URL/v1/events" \
  -H "Authorization: Bearer $REFOLD_API_TOKEN" \
  -H 'Content-Type: application/json' \
  -H 'Idempotency-Key: order-1000-placed' \
  -d '[{
    "event_name": "order.placed",
    "workflow_name": "order", "business_key": "1000",
    "to_state": "placed",
    "payload": { "amount": 12.50, "customer": 9007199254740993 }
  }]' > answer.json
# endregion
cat answer.json && echo

text() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" answer.json | head -1; }
POSITION=$(text position) EXECUTION=$(text execution_id) EVENT=$(text event_id)

# region read
curl -sS "$REFOLD_API_URL/v1/executions/$EXECUTION?minPosition=$POSITION" \
  -H "Authorization: Bearer $REFOLD_API_TOKEN" \
  -H 'Prefer: wait=10'
# endregion
echo

# region receipt
curl -sS "$REFOLD_API_URL/v1/executions/$EXECUTION/receipts/$EVENT?position=$POSITION" \
  -H "Authorization: Bearer $REFOLD_API_TOKEN" \
  -H 'Prefer: wait=10'
# endregion
echo

# region lines
cat > events.ndjson <<'EOF'
{"event_name":"order.paid","workflow_name":"order","business_key":"1000","to_state":"paid","idempotency_key":"1000-paid"}
{"event_name":"order.placed","workflow_name":"order","business_key":"1001","to_state":"placed","idempotency_key":"1001-placed"}
EOF
curl -sS "$REFOLD_API_URL/v1/events" \
  -H "Authorization: Bearer $REFOLD_API_TOKEN" \
  -H 'Content-Type: application/x-ndjson' \
  -H 'Prefer: wait=10' \
  --data-binary @events.ndjson
# endregion
echo
