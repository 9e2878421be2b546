#!/usr/bin/env bash
# Keeps the history of an execution for a test. Needs refold on PATH, REFOLD_API_URL and REFOLD_API_TOKEN, and the id in EXECUTION.
set -euo pipefail

# region export
refold executions export "$EXECUTION" > history.json
# endregion
