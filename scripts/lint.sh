#!/usr/bin/env bash
# Everything that is read and not run: ruff, types, and what nothing calls.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${VENV:-.venv}/bin/python
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy &
types=$!
status=0
"$python" -m scripts.dead_code || status=$?
wait $types || status=$?
exit $status
